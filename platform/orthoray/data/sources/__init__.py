"""Sources with files of their own making: each adapter turns them into tables that cards join on.

An adapter is named in a card (``adapter: {name: oai, …}``) and makes tables called ``<name>:<table>``: every cell is
text, and a missing one is empty text. A card uses them in `facts` and `labels` like a CSV file.
"""
