"""Two-view geometry: fundamental matrices and homographies from matches, with uncertainty."""
