"""The algorithm `tse`: which blocks are tiled, and what that costs and saves."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage
from fewbits.options import Options
from fewbits.provenance import LayerNote, Report
from numpy.typing import NDArray
from pydantic import Field

from fewbits_tse.blocks import Block, find_blocks
from fewbits_tse.measure import tiling_snr
from fewbits_tse.rewire import View, drop_unused, replace_gate
from fewbits_tse.tiles import saving, tile_count


class TseOptions(Options):
    """Options of `tse`."""

    count: int | None = Field(
        None, ge=0, description="How many blocks to tile, from the input on; all when not given."
    )
    mode: Literal["sequential"] = Field(
        "sequential", description="Which blocks count first: those nearest the input."
    )
    tile_height: int = Field(7, ge=1, description="Rows of a tile.")
    threshold: float = Field(
        15.0,
        ge=-140,
        le=140,
        description="Keep a block as it is when tiling takes its output's SNR below this, in dB.",
    )


class TiledSqueezeExcite(Algorithm):
    """Gives squeeze-and-excite blocks strips of rows to average in place of the whole map.

    A block whose output would differ too much over the calibration data stays as it is.
    """

    name = "tse"
    stage = Stage.OPTIMIZED
    needs_calibration = True
    Options = TseOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model with tiled blocks; the report has a note for each block found.

        Raises:
            DataError: there is no calibration data.
        """
        context.need_calibration(f"Step '{self.name}'")
        blocks = tuple(find_blocks(model.graph))
        reasons = {block.name: self._reason(block, place) for place, block in enumerate(blocks)}
        ready = [name for name, reason in reasons.items() if not reason]
        snr = tiling_snr(model, ready, self.options.tile_height, context)
        reasons |= {name: self._too_noisy(value) for name, value in snr.items()}
        chosen = {name for name, reason in reasons.items() if not reason}
        notes = tuple(self._note(block, reasons[block.name], snr) for block in blocks)
        report = _report(notes, self.options.tile_height)
        if not chosen:
            return Result(model.advance(self.stage), report)
        return Result(self._tile(model, chosen), report)

    def _reason(self, block: Block, place: int) -> str:
        """Return why a block is left alone before anything is measured; empty if it is not."""
        count, rows = self.options.count, self.options.tile_height
        if block.fault:
            return block.fault
        if count is not None and place >= count:
            return f"only the first {count} blocks were asked for"
        if block.sizes[1] <= rows:
            return f"its map has {block.sizes[1]} rows and fits one tile of {rows}"
        return ""

    def _too_noisy(self, snr: float) -> str:
        limit = self.options.threshold
        return f"tiled, its output's SNR is {snr:.1f} dB, below {limit:g}" if snr < limit else ""

    def _tile(self, model: Model, chosen: Iterable[str]) -> Model:
        network = model.network.clone()
        views: dict[str, View] = {}
        for block in [b for b in find_blocks(network.graph) if b.name in chosen]:
            views |= replace_gate(network.graph, block, self.options.tile_height)
        drop_unused(network)
        masks = _masks(model.masks, views, network.graph.initializers)
        return model.advance(self.stage, network=network, masks=masks)

    def _note(self, block: Block, reason: str, snr: Mapping[str, float]) -> LayerNote:
        values: dict[str, Any] = {}
        if not block.fault:
            values = _figures(block, self.options.tile_height)
        if block.name in snr:
            values["snr_db"] = snr[block.name]
        if reason:
            values |= {"saved_bytes": 0, "saving": 0.0} if values else {}
            return LayerNote(block.name, "kept", reason=reason, values=values)
        return LayerNote(block.name, "tiled", values=values)


def _figures(block: Block, rows: int) -> dict[str, Any]:
    """Return a block's buffer at one byte a value, and what tiles of `rows` rows save of it."""
    channels, height, width = block.sizes
    buffer = channels * height * width
    return {
        "map": f"{channels}×{height}×{width}",
        "tiles": tile_count(height, rows),
        "buffer_bytes": buffer,
        "saved_bytes": channels * max(height - rows, 0) * width,
        "saving": round(saving(height, rows), 4),
    }


def _masks(
    masks: Mapping[str, NDArray[Any]], views: Mapping[str, View], held: Iterable[str]
) -> dict[str, NDArray[Any]]:
    """Carry the masks of pruned weights over to the weights' new shapes."""
    moved = {
        name: view.of(masks[view.source]) for name, view in views.items() if view.source in masks
    }
    for mask in moved.values():
        mask.flags.writeable = False
    names = set(held)
    return {name: mask for name, mask in {**masks, **moved}.items() if name in names}


def _report(notes: tuple[LayerNote, ...], rows: int) -> Report:
    tiled = [note for note in notes if note.action == "tiled"]
    buffer = sum(int(note.values.get("buffer_bytes", 0)) for note in notes)
    saved = sum(int(note.values.get("saved_bytes", 0)) for note in notes)
    metrics = {
        "blocks": len(notes),
        "tiled": len(tiled),
        "buffer_bytes": buffer,
        "saved_bytes": saved,
        "saving": round(saved / buffer, 4) if buffer else 0.0,
    }
    if not notes:
        return Report(False, "Found no squeeze-and-excite block.", metrics=metrics)
    summary = (
        f"Tiled {len(tiled)} of {len(notes)} squeeze-and-excite blocks, {rows} rows a tile;"
        f" saves {saved:,} of {buffer:,} bytes of their buffers."
    )
    return Report(bool(tiled), summary, notes, metrics)
