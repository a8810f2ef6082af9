"""Tables: how their files become samples, and how other tables become samples in the same way.

file.py       CSV, Parquet and Arrow as columns of texts
cells.py      what texts mean: numbers, booleans, missing values
columns.py    what a column holds, and which columns can help to predict
targets.py    what is to be predicted: classes or numbers
read.py       a table: its features and its target
settle.py     the features as samples, fitted on the rows that are trained on
encode.py     the same with scikit-learn's ColumnTransformer, from a reading
other.py      a table that nobody has trained on, in the terms of a fitted one
told.py       what was done to the columns, in a few lines
shown.py      encoded rows as the file has them
served.py     the saved model of a table; with encode.py and cells.py all of its code

What has been learned of a table is in its `reading`, plain values: `Data.reading`, and of a
recorded run `run.json`, under data.reading. `reading["columns"]` is there for tables alone. To
predict for another table:

    raw = other.read_frame(path)                     or a DataFrame, of pandas.read_csv
    found = other.encode(raw, reading)               found.x: (n, features) float32
    y = other.targets(raw, reading, classes)         where its targets are asked for

Columns that the reading does not name, the target among them, are ignored. Raises Mistake for
columns that are missing. Values that cannot be read count as missing, and texts that no training
row has belong to no class, or to the rare ones where there are such: `found.unread` and
`found.unknown` count both, by column.
"""
