"""CSV tables: read (`read`), what their texts mean (`cells`), which columns can help to predict
(`columns`), and what is to be predicted (`targets`).
"""
