"""Folders of image files: found (`scan`), sorted into classes and splits (`layout`), one form
chosen for all (`form`), decoded in parallel (`decode`), each file read (`read`) and resized
(`resize`).
"""
