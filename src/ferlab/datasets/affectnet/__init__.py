"""AffectNet (Mollahosseini et al. 2017): the manual release of 2017, the cropped one of 2021, class-folder repacks."""
