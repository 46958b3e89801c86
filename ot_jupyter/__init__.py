"""Several people and programs in one Jupyter notebook."""

__version__ = "0.1.0"
