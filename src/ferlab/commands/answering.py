"""From the settings of ``ferlab predict`` and ``ferlab demo`` to the model that answers."""

from ferlab.commands.backend import set_up_backend
from ferlab.commands.launch import Context
from ferlab.config.edge_nodes import Faces
from ferlab.config.schema import DemoConfig, PredictConfig
from ferlab.inference.pipeline import Looking
from ferlab.inference.predictor import Predictor


def predictor_of(config: PredictConfig | DemoConfig, context: Context) -> Predictor:
    """The model that is named, with its face detector; UserError when one of them is not there."""
    looking, threads = looking_of(config.faces), config.compute.cores
    if config.runtime.startswith("keras") and not (config.model or "").endswith((".tflite", ".onnx")):
        set_up_backend(config.compute)
    if config.model is not None:
        return Predictor.from_file(config.model, looking=looking, threads=threads, abstain_below=config.abstain_below)
    _ = context.store
    return Predictor.from_run(
        str(config.run), config.runtime, looking=looking, threads=threads, abstain_below=config.abstain_below
    )


def looking_of(faces: Faces) -> Looking:
    """How faces are found."""
    return Looking(faces.whole, faces.seen_px, faces.min_score, faces.box_scale)
