"""Names, towns, firms and subjects of the generated questions.

Every word is one token of BERT's uncased vocabulary: a passage of names made of syllables has twice as many tokens, and
training on it takes twice as long. No word is in two lists.
"""

from __future__ import annotations

__all__ = ["FAMILY_NAMES", "FIELDS", "FIRMS", "GIVEN_NAMES", "TOWNS"]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


GIVEN_NAMES = _words(
    "Adam Agnes Alan Albert Alice Allen Amanda Amy Andrea Andrew Angela Anna Anne Anthony Antonio Arthur Ashley "
    "Barbara Benjamin Bernard Betty Beverly Bonnie Brandon Brenda Brian Bruce Carl Carlos Carol Caroline "
    "Catherine Charles Christina Christine Clara Clarence Claude Craig Daniel Danny David Deborah Dennis Diana "
    "Diane Donald Donna Doris Dorothy Douglas Edgar Edith Edmund Edward Edwin Eleanor Elizabeth Ellen Emily Emma "
    "Eric Ernest Ethel Eugene Evelyn Felix Florence Frances Francis Frank Fred Frederick George Gerald Gloria "
    "Grace Gregory Hannah Harold Harry Heather Helen Henry Herbert Herman Howard Hugh Ian Irene Isaac Isabel "
    "Jacob Jacqueline James Jane Janet Jason Jennifer Jeremy Jessica Joan Joel Johanna John Jonathan Joseph "
    "Joshua Joyce Judith Julia Julian Julie Justin Karen Karl Kathleen Keith Kenneth Kevin Laura Lawrence Leon "
    "Leonard Lewis Lillian Linda Lisa Louis Louise Lucas Lucy Lydia Marcus Margaret Maria Marie Marilyn Mario "
    "Mark Martha Martin Mary Matthew Maurice Melissa Michael Michelle Miguel Monica Nancy Nathan Nicholas Nicole "
    "Nina Noah Norman Oliver Oscar Pamela Patricia Patrick Paul Paula Peter Philip Phyllis Rachel Ralph Raymond "
    "Rebecca Richard Robert Roger Roland Ronald Rosa Ruth Samantha Samuel Sandra Sara Sarah Sebastian Sharon "
    "Simon Sophia Stanley Stephanie Stephen Steven Susan Sylvia Teresa Theodore Theresa Thomas Timothy Vera "
    "Vernon Victor Vincent Violet Virginia Vivian Walter Wanda William Winston"
)

FAMILY_NAMES = _words(
    "Adams Anderson Andrews Armstrong Atkins Bailey Baker Barnes Bennett Blake Bowman Boyd Bradley Brooks Brown "
    "Bryant Burke Burton Butler Campbell Carlson Carpenter Carter Chambers Chapman Christensen Clark Coleman "
    "Collins Cooper Cox Crawford Cunningham Davidson Davies Davis Dawson Dixon Edwards Elliott Ellis Evans "
    "Ferguson Fisher Fitzgerald Fleming Fletcher Foster Fowler Fraser Freeman Gardner Gibson Gonzalez Goodman "
    "Graham Green Griffin Hamilton Hansen Harper Harris Harrison Hart Harvey Hawkins Henderson Hernandez Hicks "
    "Higgins Hoffman Holmes Hopkins Hudson Hughes Hunter Jackson Jacobs Jenkins Jensen Johnson Johnston Jones "
    "Keller Kelly Kennedy Klein Lambert Larson Lloyd Lopez Lynch MacDonald Marshall Mason Matthews McCarthy Meyer "
    "Miller Mitchell Moore Morgan Morris Morrison Mueller Murphy Murray Myers Nelson Newman Nielsen Olsen Owens "
    "Palmer Parker Patterson Payne Perkins Perry Peters Phillips Pierce Porter Powell Ramirez Reed Reynolds "
    "Richards Richardson Roberts Robinson Rogers Ross Russell Ryan Sanders Schmidt Schneider Shaw Simpson Smith "
    "Spencer Stevens Stewart Stone Sullivan Taylor Thompson Torres Tucker Turner Wagner Walker Wallace Walsh "
    "Watson Weaver Weber Webster Wells Wheeler Williams Wilson Wright Young"
)

TOWNS = _words(
    "Aberdeen Albany Amsterdam Athens Atlanta Baltimore Bangkok Barcelona Basel Bath Belfast Belgrade Bergen "
    "Berlin Birmingham Bologna Bombay Bonn Boston Bradford Bremen Brighton Bristol Brussels Bucharest Budapest "
    "Buffalo Cairo Calcutta Cambridge Canterbury Cardiff Chester Chicago Cincinnati Cleveland Cologne Copenhagen "
    "Cork Dallas Damascus Delhi Denver Derby Detroit Dresden Dublin Dundee Durham Edinburgh Exeter Frankfurt "
    "Geneva Genoa Glasgow Gloucester Hamburg Hanover Havana Helsinki Houston Istanbul Jakarta Jerusalem Kiev "
    "Lancaster Leeds Leicester Leipzig Lima Lincoln Lisbon Liverpool London Lyon Madrid Manchester Manila "
    "Marseille Melbourne Memphis Milan Minneapolis Montreal Moscow Mumbai Munich Naples Nashville Newcastle "
    "Norwich Nottingham Oslo Ottawa Oxford Paris Perth Philadelphia Phoenix Pittsburgh Plymouth Portland "
    "Portsmouth Prague Preston Quebec Reading Riga Rochester Rome Rotterdam Salzburg Seattle Seoul Seville "
    "Shanghai Sheffield Singapore Southampton Stockholm Stuttgart Sunderland Swansea Sydney Tokyo Toledo Toronto "
    "Toulouse Trinity Tucson Turin Utrecht Valencia Vancouver Venice Vienna Warsaw Wellington Winchester "
    "Worcester York Zagreb Zurich"
)

FIRMS = _words(
    "Alpha Anchor Apex Apollo Arrow Atlas Aurora Beacon Blue Bridge Cardinal Castle Cedar Century Comet Compass "
    "Condor Copper Coral Crown Crystal Delta Diamond Dragon Eagle Eclipse Emerald Falcon Forge Galaxy Gemini "
    "Globe Golden Granite Harbor Hawk Horizon Imperial Iris Iron Ivory Jade Jupiter Keystone Lion Lotus Lunar "
    "Magnet Maple Marble Mercury Meridian Neptune Nova Oak Ocean Olympus Omega Orbit Orion Pearl Pilot Pioneer "
    "Planet Polar Prism Pyramid Quartz Raven Ridge Royal Ruby Sable Sapphire Saturn Scarlet Sentinel Shield "
    "Silver Solar Spark Spring Star Steel Sterling Summit Sunset Swan Tempest Thunder Tiger Titan Tower Union "
    "Valley Vector Velvet Venus Viking Vulcan Willow Wolf Zenith"
)

FIELDS = _words(
    "accounting agriculture algebra anatomy anthropology archaeology archery architecture arithmetic astronomy "
    "aviation baking ballet banking biology botany boxing brewing calculus ceramics chemistry chess climbing "
    "cooking cricket cycling dancing dentistry design diplomacy drama drawing ecology economics embroidery "
    "engineering ethics etymology farming fashion fencing fiction finance fishing forestry gardening genetics "
    "geography geology geometry golf grammar graphics gymnastics history hunting hygiene insurance irrigation "
    "jewelry journalism judo karate knitting lace law linguistics literature logic mathematics mechanics medicine "
    "mining morphology music navigation nursing nutrition opera optics painting pathology pharmacy philology "
    "philosophy photography physics physiology piano planning plumbing poetry politics pottery printing "
    "programming psychiatry psychology rhetoric riding robotics rowing rugby sailing satire sculpture semantics "
    "sewing shooting singing skating skiing sociology statistics surgery surveying swimming taxation tennis "
    "theatre theology translation veterinary violin weaving welding wrestling writing yoga zoology"
)
