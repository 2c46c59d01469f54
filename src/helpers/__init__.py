"""Helpers of the course: one module, one idea; its docstring names the notebook."""
