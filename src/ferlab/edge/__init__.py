"""Models for other devices: LiteRT and ONNX files, proved equal to the trained model, opened and measured."""
