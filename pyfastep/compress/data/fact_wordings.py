"""How the relations of the generated questions are put: in training, and otherwise in the evaluation.

There are many of each for training: what a model knows by two or three sentences alone it learns by heart, and fails at
others. The evaluation's use words that training knows from other sentences.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WORDINGS", "Wordings"]


@dataclass(frozen=True)
class Wordings:
    """Of one relation, those of training first.

    Attributes:
        statements: With ``{who}`` and ``{value}``; only where ``{who}`` opens one may it become "They".
        questions: With ``{who}``.
    """

    statements: tuple[tuple[str, ...], tuple[str, ...]]
    questions: tuple[tuple[str, ...], tuple[str, ...]]


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


WORDINGS = {
    "born": Wordings(
        (
            _lines("""
            {who} was born in {value}.
            {who} came into the world in {value}.
            {who} is a native of {value}.
            {who} is from {value} by birth.
            {who} was a baby in {value}.
            {who} spent a childhood in {value}.
            {who} took the first breath in {value}.
            {who} has {value} as a place of birth.
            The birthplace of {who} is {value}.
            The cradle of {who} was in {value}.
            The birth of {who} took place at {value}.
            It was in {value} that {who} was born.
            """),
            _lines("""
            {who} spent the first years of life in {value}, the place of birth.
            The cradle of {who} stood in {value}.
            """),
        ),
        (
            _lines("""
            Where was {who} born?
            What is the birthplace of {who}?
            Of which town is {who} a native?
            Where did {who} spend a childhood?
            Where did {who} come into the world?
            Which place saw the birth of {who}?
            Where was the cradle of {who}?
            In which town was {who} a baby?
            {who} was born where?
            """),
            _lines("""
            In which town did {who} come into the world?
            Which place is {who} from by birth?
            """),
        ),
    ),
    "lives": Wordings(
        (
            _lines("""
            {who} lives in {value}.
            {who} has a house in {value}.
            {who} moved to {value} for good.
            {who} is a resident of {value} today.
            {who} rents a flat in {value} now.
            {who} has an address in {value}.
            {who} has settled in {value}.
            {who} is at home in {value} these days.
            The home of {who} is in {value}.
            The house of {who} stands in {value}.
            It is in {value} that {who} lives.
            Those who look for {who} now find the house in {value}.
            """),
            _lines("""
            {who} settled down in {value}.
            {who} makes a home in {value} these days.
            """),
        ),
        (
            _lines("""
            Where does {who} live?
            In which town is the house of {who}?
            Of which town is {who} a resident?
            Where has {who} moved to?
            Where did {who} settle for good?
            What is the home of {who} today?
            Which town does {who} live in now?
            Where does {who} rent a flat?
            {who} has an address where?
            """),
            _lines("""
            Where has {who} settled?
            What town is home to {who} now?
            """),
        ),
    ),
    "works": Wordings(
        (
            _lines("""
            {who} works for {value}.
            {who} is on the payroll of {value}.
            {who} has a post at {value}.
            {who} has a job with {value}.
            {who} is a clerk at {value}.
            {who} gets a salary from {value}.
            {who} earns a wage at {value}.
            {who} is in the employ of {value}.
            {who} makes a living as a worker of {value}.
            The employer of {who} is {value}.
            The work of {who} is at {value}.
            It is {value} that pays {who}.
            """),
            _lines("""
            {who} earns a living at {value}.
            {who} is employed by {value}.
            """),
        ),
        (
            _lines("""
            Who employs {who}?
            Which firm does {who} work for?
            Who pays {who}?
            Where does {who} have a job?
            What is the work place of {who}?
            Where does {who} earn a wage?
            Which employer does {who} have?
            By whom is {who} paid?
            {who} gets a salary from whom?
            """),
            _lines("""
            Where does {who} earn a living?
            What is the employer of {who}?
            """),
        ),
    ),
    "founded": Wordings(
        (
            _lines("""
            {who} founded {value}.
            {who} is the founder of {value}.
            {who} once started {value}.
            {who} created {value}.
            {who} launched {value} years ago.
            {who} began {value} as an own business.
            {who} has established the firm {value}.
            {who} brought {value} into being.
            {who} is the one who set up {value}.
            The firm that {who} founded is {value}.
            {value} was established by {who}.
            It was {who} who started {value}.
            """),
            _lines("""
            {who} set up {value} from nothing.
            {who} established {value}.
            """),
        ),
        (
            _lines("""
            Which firm did {who} found?
            What did {who} start?
            What was created by {who}?
            Of which firm is {who} the founder?
            Which company did {who} set up?
            What enterprise did {who} establish?
            What is the company that {who} began?
            Which business was founded by {who}?
            {who} launched which business?
            """),
            _lines("""
            What company was set up by {who}?
            Which enterprise was established by {who}?
            """),
        ),
    ),
    "birth_year": Wordings(
        (
            _lines("""
            {who} is from the class of {value}, the year of birth.
            {who} saw the light of day in {value}.
            {who} was born in the year {value}.
            {who} came into the world in the year {value}.
            {who} has been alive since {value}.
            {who} was a baby in the year {value}.
            {who} has a birthday of {value}.
            {who} first drew breath in {value}.
            {who} started life in {value}.
            The birth of {who} was in {value}.
            The life of {who} began in {value}.
            In the year {value} {who} was born.
            """),
            _lines("""
            {who} began life in {value}.
            The birthday of {who} was in {value}.
            """),
        ),
        (
            _lines("""
            When was {who} born?
            What is the birth year of {who}?
            When did {who} come into the world?
            Since when has {who} been alive?
            In what year did {who} begin to live?
            When did the life of {who} start?
            In which year was the birth of {who}?
            When is the birthday of {who}?
            {who} was born when?
            """),
            _lines("""
            In what year did the life of {who} begin?
            In which year was {who} born?
            """),
        ),
    ),
    "prize_year": Wordings(
        (
            _lines("""
            {who} won the great prize in {value}.
            {who} received the medal in {value}.
            {who} got an award in {value}.
            {who} was a winner in {value}.
            {who} took the trophy in {value}.
            {who} was given an honour in {value}.
            {who} had a victory in {value}.
            {who} was honoured in the year {value}.
            {who} came in first in {value}.
            The prize of {who} came in {value}.
            The award went to {who} in {value}.
            In {value} {who} won the medal.
            """),
            _lines("""
            {who} was honoured with the award in {value}.
            The victory of {who} was in {value}.
            """),
        ),
        (
            _lines("""
            When did {who} win the prize?
            In which year did {who} get the medal?
            When was {who} a winner?
            When did {who} get an award?
            In what year was the victory of {who}?
            When was the medal given to {who}?
            In which year was {who} honoured with a prize?
            When did the award go to {who}?
            {who} took the trophy when?
            """),
            _lines("""
            When was {who} honoured?
            In what year was {who} given the prize?
            """),
        ),
    ),
    "studied": Wordings(
        (
            _lines("""
            {who} studied {value}.
            {who} has a degree in {value}.
            {who} was trained in {value}.
            {who} was a student of {value}.
            {who} learned {value} at college.
            {who} took an exam in {value}.
            {who} is a graduate in {value}.
            {who} went to university for {value}.
            {who} read books on {value} as a student.
            The degree of {who} is in {value}.
            The subject of {who} at university was {value}.
            It was {value} that {who} studied.
            """),
            _lines("""
            {who} graduated in {value}.
            {who} once read {value} at university.
            """),
        ),
        (
            _lines("""
            What did {who} study?
            In what does {who} have a degree?
            What was {who} trained in?
            What did {who} learn at college?
            In which subject is {who} a graduate?
            As a student, what did {who} read?
            Which subject did {who} study?
            In what did {who} pass the exam?
            {who} took an exam in what?
            """),
            _lines("""
            Which subject did {who} graduate in?
            What was {who} a student of?
            """),
        ),
    ),
    "teaches": Wordings(
        (
            _lines("""
            {who} teaches {value}.
            {who} gives lessons in {value}.
            {who} lectures on {value}.
            {who} is a teacher of {value}.
            {who} tutors children in {value}.
            {who} is a professor of {value}.
            {who} gives instruction in {value}.
            {who} has classes in {value} to give.
            {who} instructs pupils in {value}.
            The lessons of {who} are in {value}.
            Others learn {value} from {who}.
            It is {value} that {who} teaches.
            """),
            _lines("""
            {who} instructs others in {value}.
            {who} holds classes in {value}.
            """),
        ),
        (
            _lines("""
            What does {who} teach?
            In what does {who} give lessons?
            On what does {who} lecture?
            Of what is {who} a professor?
            What are the lessons of {who} about?
            Which subject does {who} give classes in?
            In what are pupils instructed by {who}?
            Which subject does {who} teach to others?
            {who} tutors children in what?
            """),
            _lines("""
            Which subject are the classes of {who} about?
            What does {who} instruct others in?
            """),
        ),
    ),
}
