"""The print pack: pages and one PDF about orderkit, whose figures come from runs of it.

Rendering reads evidence and templates, nothing else.
"""
