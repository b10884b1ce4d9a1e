"""Many trainings that are compared: which ones, running them, and the page that says what came out.

A matrix file (:mod:`.matrix`) names configs, seeds and controls; :mod:`.runs` trains and tests in
processes of their own and keeps on disk what is done; :mod:`.page` writes JSON and Markdown.
"""
