"""Folders of image files: found (`scan`), sorted into classes and splits (`layout`), one format
chosen for all (`format`), decoded in parallel (`decode`), each file read (`read`) and resized
(`resize`); `samples` does all of it for the sources.
"""
