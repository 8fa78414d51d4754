"""Here so that kernel_problems.py can be imported by the tests below."""
