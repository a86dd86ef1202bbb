"""From a photo, a video or a camera to what a model says of the faces in it; the demo page."""
