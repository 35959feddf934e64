"""The edge of the program: image files, dataset folders, downloads and the made-up demo dataset.

The only user of SimpleITK.
"""
