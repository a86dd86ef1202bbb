"""The embedded data set: procedurally drawn faces whose categories are composed from facial action units."""
