import logging
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import torch
from torch_fidelity.feature_extractor_clip import build_model

from invariances.evaluation.metrics.fid import embeddings
from invariances.evaluation.metrics.fid.embeddings import CLIP_MEAN, CLIP_STD, clip, dinov2, resized_positions
from invariances.evaluation.metrics.fid.extractors import resize
from invariances.evaluation.metrics.fid.fid import scores
from invariances.evaluation.metrics.fid.inception import WeightsMissing


def random_state(shapes):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}


def clip_state(width=128, n_layers=2, patch=8, side=4, n_features=32):
    """Weights in CLIP's format, of a small network: the vision transformer, and what build_model needs besides."""
    shapes = {
        "text_projection": (16, n_features),
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (side**2 + 1, width),
        "visual.proj": (width, n_features),
        "visual.conv1.weight": (width, 3, patch, patch),
    }
    for norm in ("ln_pre", "ln_post"):
        shapes |= {f"visual.{norm}.{kind}": (width,) for kind in ("weight", "bias")}
    for i in range(n_layers):
        block = f"visual.transformer.resblocks.{i}"
        shapes |= {
            f"{block}.attn.in_proj_weight": (3 * width, width),
            f"{block}.attn.in_proj_bias": (3 * width,),
            f"{block}.attn.out_proj.weight": (width, width),
            f"{block}.attn.out_proj.bias": (width,),
            f"{block}.mlp.c_fc.weight": (4 * width, width),
            f"{block}.mlp.c_fc.bias": (4 * width,),
            f"{block}.mlp.c_proj.weight": (width, 4 * width),
            f"{block}.mlp.c_proj.bias": (width,),
        }
        shapes |= {f"{block}.{norm}.{kind}": (width,) for norm in ("ln_1", "ln_2") for kind in ("weight", "bias")}
    return {name: weight.half().float() for name, weight in random_state(shapes).items()}


def dinov2_state(width=128, n_layers=2, patch=14, side=37):
    """Weights in the format of DINOv2's published file, of a small network."""
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + side**2, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for i in range(n_layers):
        linear = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
        shapes |= {f"blocks.{i}.{k}.weight": (o * width, n * width) for k, (o, n) in linear.items()}
        shapes |= {f"blocks.{i}.{k}.bias": (o * width,) for k, (o, _) in linear.items()}
        shapes |= {f"blocks.{i}.{k}.{kind}": (width,) for k in ("norm1", "norm2") for kind in ("weight", "bias")}
        shapes |= {f"blocks.{i}.{k}.gamma": (width,) for k in ("ls1", "ls2")}
    return random_state(shapes)


def pictures(n, seed=0, size=40):
    return torch.randint(0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.fixture
def saved(tmp_path):
    paths = {"clip": tmp_path / "clip.pth", "dinov2": tmp_path / "dinov2.pth"}
    torch.save(clip_state(), paths["clip"])
    torch.save(dinov2_state(), paths["dinov2"])
    return paths


@pytest.fixture
def server(tmp_path):
    """A folder, and the address under which it is served."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Archive(torch.nn.Module):
    """A module with these weights, such as TorchScript writes."""

    def __init__(self, state):
        super().__init__()
        self.text_projection = torch.nn.Parameter(state["text_projection"])
        self.visual = embeddings.clip_network(state)

    def forward(self, x):
        return x


class TestCLIP:
    def test_features_are_torch_fidelitys(self, saved):
        pixels = pictures(3)
        theirs = build_model(clip_state(), torch.float32).visual
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
        expected = theirs((resize(pixels, 32, "clean") / 255 - mean) / std)
        found = clip(saved["clip"])(pixels)
        torch.testing.assert_close(found, torch.nn.functional.normalize(expected), atol=1e-5, rtol=1e-4)
        assert found.norm(dim=1).tolist() == pytest.approx([1] * 3, abs=1e-5)
        assert found.std(dim=0).mean() > 0.001

    def test_scores_are_cmmd(self, saved):
        found = scores([pictures(20)], [pictures(20, seed=1) // 2], clip(saved["clip"]), "uint8")
        names = [name for name in found if not name.endswith("_ci")]
        assert names == ["n_real_clip", "n_samples_clip", "cmmd_clip", "precision_clip", "recall_clip"]
        assert found["cmmd_clip"] > found["cmmd_clip_ci"] > 0

    def test_the_published_archive_is_downloaded_and_verified(self, hub, server, monkeypatch):
        folder, address = server
        torch.jit.script(Archive(clip_state())).save(folder / "ViT.pt")
        checksum = embeddings._sha256(folder / "ViT.pt")
        monkeypatch.setattr(embeddings, "CLIP_URL", f"{address}/ViT.pt")
        with pytest.raises(WeightsMissing, match=r"in place of .* and was deleted"):
            clip()
        monkeypatch.setattr(embeddings, "CLIP_SHA256", checksum)
        assert clip()(pictures(1)).shape == (1, 32)

    def test_another_archive_is_not_run(self, tmp_path):
        torch.jit.script(Archive(clip_state())).save(tmp_path / "other.pt")
        with pytest.raises(WeightsMissing, match=r"other.pt: cannot be read as weights of CLIP.*TorchScript"):
            clip(tmp_path / "other.pt")


class TestDINOv2:
    def test_features_are_those_of_the_class_token(self, saved):
        pytest.importorskip("timm")
        extractor = dinov2(saved["dinov2"])
        assert extractor(pictures(2)).shape == (2, 128)
        # without blocks, the class token is left: its embedding with its position, normalised
        state = {name: weight for name, weight in dinov2_state().items() if not name.startswith("blocks")}
        token = (state["cls_token"] + state["pos_embed"][:, :1])[0, 0]
        expected = torch.nn.functional.layer_norm(token, (128,), state["norm.weight"], state["norm.bias"], eps=1e-6)
        found = embeddings.dinov2_network(state).eval()(torch.randn(1, 3, 224, 224))[0]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)

    def test_scores_are_frechet_distances(self, saved):
        pytest.importorskip("timm")
        with pytest.warns(UserWarning, match="fd_dinov2: 8 images for 128 features"):
            found = scores([pictures(8)], [pictures(8, seed=1)], dinov2(saved["dinov2"]), "uint8")
        assert "fd_dinov2" in found and not any(name.startswith(("fid", "kid")) for name in found)

    def test_the_hash_of_a_download_is_logged_once(self, hub, server, monkeypatch, saved, caplog):
        pytest.importorskip("timm")
        folder, address = server
        (folder / "weights.pth").write_bytes(saved["dinov2"].read_bytes())
        monkeypatch.setattr(embeddings, "DINOV2_URL", f"{address}/weights.pth")
        with caplog.at_level(logging.INFO, logger=embeddings.__name__):
            dinov2()
            dinov2()
        assert [record.message.split()[-1] for record in caplog.records] == [embeddings._sha256(saved["dinov2"])]

    def test_code_in_a_file_is_not_run(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (open, (str(tmp_path / "run"), "w"))

        torch.save({"cls_token": Evil()}, tmp_path / "evil.pth")
        with pytest.raises(WeightsMissing, match=r"evil.pth: cannot be read as weights of DINOv2"):
            dinov2(tmp_path / "evil.pth")
        assert not (tmp_path / "run").exists()

    def test_positions_are_interpolated(self):
        # embeddings that grow along one side still do, and the class token's is unchanged
        ramp = torch.arange(37.0).view(37, 1).expand(37, 37).reshape(1, -1, 1)
        found = resized_positions(torch.cat([torch.full((1, 1, 1), -5.0), ramp], dim=1), 16)
        assert found[0, 0, 0] == -5
        rows = found[0, 1:, 0].view(16, 16)
        assert torch.allclose(rows, rows[:, :1].expand(-1, 16), atol=1e-4)
        assert rows[1:-1, 0].diff().tolist() == pytest.approx([37 / 16.1] * 13, rel=0.05)


@pytest.mark.slow
def test_one_picture_through_the_networks_of_true_size():
    pytest.importorskip("timm")
    picture = torch.randn(1, 3, 224, 224)
    assert embeddings.dinov2_network(dinov2_state(width=1024, n_layers=24))(picture).shape == (1, 1024)
    state = clip_state(width=1024, n_layers=24, patch=14, side=24, n_features=768)
    assert embeddings.clip_network(state)(torch.randn(1, 3, 336, 336)).shape == (1, 768)
