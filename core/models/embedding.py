"""Text to vectors, through sentence-transformers; the bundled all-MiniLM-L6-v2 unless another id is given."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.models.catalogue import BUNDLED_EMBEDDER, embedder_source
from core.models.loading import compute_device

if TYPE_CHECKING:
    import numpy as np

# Texts read at once for their tokens' states, which take 1.5 KB a token and layer.
TOKEN_BATCH = 32

_LOADING = threading.Lock()


class Embedder:
    """An encoder whose vectors have length 1, so that the dot product is the cosine similarity."""

    def __init__(self, embedder: str, encoder: Any) -> None:
        self.id = embedder
        self._encoder = encoder

    @property
    def max_tokens(self) -> int:
        """Tokens read of each text; the rest is cut off in silence, so chunks must be shorter."""
        return int(self._encoder.max_seq_length)

    @property
    def tokenizer(self) -> Any:
        """The encoder's own Hugging Face tokenizer, with which chunks are measured."""
        return self._encoder.tokenizer

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 vectors, shape (len(texts), dimensions)."""
        vectors: np.ndarray = self._encoder.encode(
            list(texts), normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return vectors

    def read(self, texts: Sequence[str], layer: int) -> list[tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]]:
        """The vector of each text as `embed` has it, and what the encoder makes of each token after `layer` layers.

        Per text: float32 (dimensions,), float32 (tokens, dimensions), and the (start, end) characters of each token;
        special tokens are left out. One pass gives both.
        """
        import torch

        found = []
        with torch.inference_mode():
            for start in range(0, len(texts), TOKEN_BATCH):
                batch = self.tokenizer(
                    list(texts[start : start + TOKEN_BATCH]),
                    padding=True,
                    truncation=True,
                    max_length=self.max_tokens,
                    return_offsets_mapping=True,
                    return_special_tokens_mask=True,
                    return_tensors="pt",
                )
                places, special = batch.pop("offset_mapping"), batch.pop("special_tokens_mask")
                transformer, *rest = self._encoder
                seen = transformer.model(**batch.to(transformer.model.device), output_hidden_states=True)
                features = {**batch, "token_embeddings": seen.last_hidden_state}
                for module in rest:
                    features = module(features)
                vectors = torch.nn.functional.normalize(features["sentence_embedding"]).float().cpu().numpy()
                hidden = seen.hidden_states[layer]
                for row in range(len(hidden)):
                    kept = special[row] == 0
                    spans = [(int(a), int(b)) for a, b in places[row][kept]]
                    found.append((vectors[row], hidden[row][kept].float().cpu().numpy(), spans))
        return found


def load_embedder(embedder: str = BUNDLED_EMBEDDER) -> Embedder:
    """Open an encoder by id or folder, once for all sessions. Raises UserError when there is none."""
    with _LOADING:
        return _load(embedder)


@lru_cache(maxsize=2)
def _load(embedder: str) -> Embedder:
    from sentence_transformers import SentenceTransformer

    try:
        encoder = SentenceTransformer(
            embedder_source(embedder),
            device=compute_device(),
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"The embedding model {embedder} could not be opened.",
            f"Check the spelling and the network, or use the bundled {BUNDLED_EMBEDDER}, which needs neither.",
        ) from error
    return Embedder(embedder, encoder)
