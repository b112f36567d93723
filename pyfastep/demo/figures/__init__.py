"""Every figure that the project promises, measured by one command (``python -m pyfastep.demo.figures``)."""
