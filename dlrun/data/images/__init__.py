"""Folders of image files: found (`scan`), sorted into classes and splits (`layout`), one format
chosen for all (`format`), decoded in parallel (`decode`), each file read (`read`) and resized
(`resize`).
"""
