"""The fused ops of the `fastep` domain: schema, numpy reference and function body of each."""

DOMAIN = "fastep"
VERSION = 1
