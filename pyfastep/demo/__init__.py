"""The demonstration: from a Hugging Face model to the speed table (``python -m pyfastep.demo``)."""
