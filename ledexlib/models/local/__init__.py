"""Models in this process, with torch: sampling with a shared KV cache, and checkpoints to train and to export."""

from ledexlib.models.local.checkpoints import (
    ChatTokenizer, base_checkpoint, check_4bit, export_checkpoint, expose_head_bias, load_trainable, lora_config,
    save_checkpoint)
from ledexlib.models.local.generator import SampledTokens, TransformersGenerator
