"""The command line. A verb is a module with ``add_arguments(parser)`` and ``run(args)``.

``run`` returns the exit status, a JSON document, and the text for people. The first line of the
module's docstring is its help.
"""
