"""Vision-language encoders of every kind, as their makers save them, but tiny and with random weights."""

from __future__ import annotations

import torch
from torch import nn

from thalweg.perception.decision_nce import ClipResNet, ClipSizes


def words(folder, vocabulary: int) -> object:
    """A tokenizer of whole words; the end of a text has the highest number, as CLIP's has."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    known = {word: index for index, word in enumerate(("[UNK]", "open", "close", "the", "drawer", "box"))}
    known |= {"<start>": vocabulary - 2, "<end>": vocabulary - 1}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(name, known[name]) for name in ("<start>", "<end>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="<end>", bos_token="<start>", eos_token="<end>"
    )
    fast.save_pretrained(folder)
    return fast


def save_clip(folder) -> None:
    import transformers
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor

    kind = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = sizes | {"vocab_size": 20, "max_position_embeddings": 9, "eos_token_id": 19, "bos_token_id": 18}
    config = CLIPConfig(text_config=text, vision_config=sizes | {"image_size": 32, "patch_size": 8}, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    image = kind(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(image_processor=image, tokenizer=words(folder, 20)).save_pretrained(folder)


def save_siglip(folder) -> None:
    import transformers
    from transformers import SiglipConfig, SiglipModel, SiglipProcessor

    kind = getattr(transformers, "SiglipImageProcessorPil", None) or transformers.SiglipImageProcessor
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = sizes | {"vocab_size": 20, "max_position_embeddings": 9, "projection_size": 16}
    config = SiglipConfig(text_config=text, vision_config=sizes | {"image_size": 32, "patch_size": 8})
    SiglipModel(config).save_pretrained(folder)
    image = kind(size={"height": 32, "width": 32})
    SiglipProcessor(image_processor=image, tokenizer=words(folder, 20)).save_pretrained(folder)


TINY = ClipSizes(
    output=12, width=8, layers=(1, 2, 1, 1), grid=2, text=64, text_layers=1, vocabulary=20, context=9
)  # fmt: skip


def save_decision_nce(folder, *, prefix: str = "model.") -> None:
    """As DecisionNCE's training saves it: the whole module's weights, under one key."""
    model = ClipResNet(TINY)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    torch.save({"model": {f"{prefix}{name}": value for name, value in model.state_dict().items()}}, folder / "dn.pt")
    words(folder, 20)


KINDS = {"clip": save_clip, "siglip": save_siglip, "decision_nce": save_decision_nce}


def save_encoder(kind: str, folder) -> str:
    """Save one of ``KINDS``, the same each time; returns its source."""
    torch.manual_seed(0)
    KINDS[kind](folder)
    return str(folder / "dn.pt" if kind == "decision_nce" else folder)
