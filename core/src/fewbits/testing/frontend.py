"""The contract of frontends."""

import shutil
from pathlib import Path

import pytest

from fewbits.errors import ModelError
from fewbits.interfaces import Configurable, Frontend
from fewbits.model import Model, Stage
from fewbits.testing.component import ComponentContract
from fewbits.testing.inspection import assert_valid, contents, writeable


class FrontendContract(ComponentContract):
    """What every frontend promises. Give the fixtures `frontend` and `model_file`."""

    @pytest.fixture
    def frontend(self) -> Frontend:
        """Return the frontend under test; the subclass gives it."""
        raise NotImplementedError("give the fixture `frontend`")

    @pytest.fixture
    def model_file(self, tmp_path: Path) -> Path:
        """Return a file that the frontend reads; the subclass gives it."""
        raise NotImplementedError("give the fixture `model_file`")

    @pytest.fixture
    def component(self, frontend: Frontend) -> Configurable:
        """Return the frontend, for the tests of its options."""
        return frontend

    @pytest.fixture
    def parsed(self, frontend: Frontend, model_file: Path) -> Model:
        """Return the model in the file."""
        return frontend.parse(model_file)

    def test_suffixes_are_file_endings(self, frontend: Frontend, model_file: Path) -> None:
        assert all(s.startswith(".") and s == s.lower() for s in frontend.suffixes)
        assert model_file.suffix in frontend.suffixes

    def test_parsing_twice_gives_the_same_model(
        self, frontend: Frontend, model_file: Path, parsed: Model
    ) -> None:
        assert contents(frontend.parse(model_file)) == contents(parsed)

    def test_file_is_left_alone(self, frontend: Frontend, model_file: Path) -> None:
        before = model_file.read_bytes(), sorted(model_file.parent.iterdir())
        frontend.parse(model_file)
        assert (model_file.read_bytes(), sorted(model_file.parent.iterdir())) == before

    def test_model_is_fresh(self, parsed: Model) -> None:
        assert parsed.name
        assert parsed.stage is Stage.PARSED
        assert not parsed.encodings
        assert not parsed.precisions
        assert not parsed.history
        assert not parsed.ancestors

    def test_graph_is_valid_and_every_node_has_its_own_name(self, parsed: Model) -> None:
        assert_valid(parsed)

    def test_constants_are_read_only_initializers(self, parsed: Model) -> None:
        assert not [node.name for node in parsed.graph if node.op_type == "Constant"]
        assert writeable(parsed) == []

    def test_opset_is_one_and_shapes_are_known(self, parsed: Model) -> None:
        assert "" in parsed.network.opset_imports
        values = [*parsed.graph.inputs, *(v for n in parsed.graph for v in n.outputs if v.name)]
        assert not [v.name for v in values if v.shape is None or v.dtype is None]

    @pytest.mark.parametrize("damage", ["text", "empty", "truncated", "missing", "folder"])
    def test_what_is_no_model_is_refused(
        self, frontend: Frontend, model_file: Path, tmp_path: Path, damage: str
    ) -> None:
        path = damaged(model_file, tmp_path / damage, damage)
        with pytest.raises(ModelError) as caught:
            frontend.parse(path)
        assert path.name in caught.value.message, "name the file"
        assert caught.value.hint, "say what helps"


def damaged(model_file: Path, folder: Path, damage: str) -> Path:
    """Return a path in `folder` where a file like `model_file` is spoilt in one way."""
    folder.mkdir(parents=True)
    path = folder / f"damaged{model_file.suffix}"
    if damage == "text":
        path.write_text("This is a letter, not a network.\n" * 20)
    elif damage == "empty":
        path.touch()
    elif damage == "truncated":
        shutil.copyfile(model_file, path)
        with path.open("r+b") as file:
            file.truncate(model_file.stat().st_size // 2)
    elif damage == "folder":
        path.mkdir()
    return path
