"""What the fuzzer types: command lines that are nearly right, damaged, or wild."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ganctl import config
from ganctl.metrics.classifier import ASSETS

NASTY = (
    *(
        "",
        " ",
        "\t",
        "\n",
        "\r",
        "\x07",
        "\x1b[31mred\x1b[0m",
        "\x1b]0;title\x07",
        "\x85",
        "\x9b31m",
        "\u2028",
    ),
    *("\u202eright to left", "\udcff", "é", "🦄", "٣", "½", "²", "Ⅷ", "０", "𝟘", "\ufeff", "\u200b"),
    *("nan", "-inf", "1e400", "-0", "0x10", "1_000", "+1", "1.5", "9" * 5000, "-1", "4294967296"),
    *("9223372036854775808", "-9223372036854775809", "true", "null", "???", "~", "a" * 10_000),
    *("[" * 200, "{" * 200, "(" * 200, "[" * 60 + "]" * 60, "{a:" * 60 + "1" + "}" * 60, "\\" * 99, "'", '"'),
    *("${", "${}", "${x}", "${name}", "${seed}", "${..}", "${.}", "${model}", "${model.lr}", "${" * 100),
    *(
        "${oc.env:HOME}",
        "${oc.env:NO_SUCH}",
        "${oc.env:${name}}",
        "${oc.decode:'[1,2'}",
        "${oc.select:model}",
    ),
    *("${oc.create:{a:1}}", "${oc.dict.keys:model}", "${oc.deprecated:name}", "${eval:1+1}", "${now:%s}"),
    *(
        "${hydra:runtime.cwd}",
        "__import__('os').system('true')",
        "!!python/name:os.system",
        "$(true)",
        "`true`",
    ),
    *("%s%n", "{0}", "../../etc/passwd", "/etc/passwd", "-", "--", "-h", "=", ",", ",,", "0-", "-0", "0--1"),
)
wild = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40),  # no argument holds a zero
)


@st.composite
def damaged(draw: st.DrawFn, text: st.SearchStrategy[str]) -> str:
    """What `text` draws, often with an edit: something put in, left out, or said twice."""
    content = draw(text)
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        begin, end = sorted((draw(st.integers(0, len(content))), draw(st.integers(0, len(content)))))
        middle = draw(st.sampled_from(["", content[begin:end] * 2, *NASTY]) | wild)
        content = content[:begin] + middle + content[end:]
    return content


numbers = st.one_of(
    st.integers(-3, 12).map(str),
    st.integers().map(str),
    st.floats().map(repr),
    st.sampled_from(["1e-4", "1e3", "0.5", "4294967295", "10000000000000", "9" * 30, "-1e-9"]),
)


def nested(leaf: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Lists, mappings and function calls of Hydra's grammar."""
    words = st.sampled_from(
        ["final", "begin", "end", "shape", "_target_", "width", "a b", "${x}", "1", "'q'"]
    )
    calls = st.sampled_from(
        [
            "choice",
            "range",
            "interval",
            "glob",
            "shuffle",
            "sort",
            "tag",
            "int",
            "str",
            "json_str",
            "eval",
            "float",
        ]
    )

    def more(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        several = st.lists(inner, max_size=4)
        return st.one_of(
            several.map(lambda x: f"[{','.join(x)}]"),
            st.lists(st.tuples(words, inner), max_size=4).map(
                lambda x: "{" + ", ".join(f"{key}: {value}" for key, value in x) + "}"
            ),
            st.builds(lambda name, x: f"{name}({','.join(x)})", calls, several),
        )

    return st.recursive(leaf, more, max_leaves=8)


def keys_of(plain: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in plain.items():
        found.append(prefix + key)
        if isinstance(value, dict):
            found += keys_of(value, f"{prefix}{key}.")
    return found


COUNTS = (
    "seed",
    "model.lr",
    "data.val_size",
    "trainer.max_epochs",
    "trainer.max_steps",
    "loss.r1_gamma",
    "name",
)


def overrides() -> st.SearchStrategy[str]:
    keys = st.sampled_from([*keys_of(config.compose([]).model_dump()), *config.GROUPS, "hydra.run.dir", "x"])
    names = st.sampled_from(sorted({name for group in config.GROUPS for name in config.options(group)}))
    prefix = st.sampled_from(["", "", "", "", "+", "++", "~", "+++", "--", "~~"])
    values = st.one_of(numbers, names, nested(st.one_of(numbers, names, wild)))
    right = st.one_of(
        st.builds(lambda group, name: f"{group}={name}", st.sampled_from(config.GROUPS), names),
        st.builds(lambda key, n: f"{key}={n}", st.sampled_from(COUNTS), st.integers(1, 99)),
        st.sampled_from(["schedules.lr={final: 0.0, begin: 0.5, end: 1.0, shape: linear}", "debug=true"]),
        st.builds(lambda p, key, value: f"{p}{key}={value}", prefix, keys, values),
        st.builds(lambda p, key: f"{p}{key}", prefix, keys),
    )
    return st.sampled_from("rrrrrdw").flatmap({"r": right, "d": damaged(right), "w": wild}.__getitem__)


def joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Parts between commas, at times thousands of them."""
    few = st.lists(parts, min_size=1, max_size=5).map(",".join)
    many = st.builds(lambda part, n: ",".join([part] * n), parts, st.integers(1, 5000))
    return st.one_of(few, few, few, many)


@st.composite
def options(draw: st.DrawFn, **values: st.SearchStrategy[str]) -> list[str]:
    """Some of the options, as `--name value` or `--name=value`; one value in five damaged or wild."""
    words: list[str] = []
    for name, right in values.items():
        kind = draw(st.sampled_from("        rrrrrrrdw"))
        if kind != " ":
            value = draw({"r": right, "d": damaged(right), "w": wild}[kind])
            flag = f"--{name.replace('_', '-')}"
            words += draw(st.sampled_from([[flag, value], [f"{flag}={value}"]]))
    return words


def commands() -> st.SearchStrategy[list[str]]:
    """Command lines of `train`, `resume`, `sample`, `replay`, `eval` and `compare`."""
    spans = st.builds(lambda a, width: f"{a}-{a + width}", st.integers(0, 9), st.integers(0, 60))
    small = st.integers(1, 20).map(str)
    counts = st.sampled_from(["0", "-1", "10000000001", "9" * 12, "9" * 40, "many"])
    few = st.sampled_from("sssssc").flatmap({"s": small, "c": counts}.__getitem__)
    labels = st.sampled_from([*"0123456789", "all", "0-9", "3-5"])
    names = st.sampled_from(["default", "fast", "all", "fid", "is", "kid", "prdc", "modes", "cas"])
    common = {
        "seed": st.sampled_from("ssssn").flatmap({"s": small, "n": numbers}.__getitem__),
        "n": few,
        "device": st.sampled_from(["auto", "auto", "cpu", "cpu", "cuda", "mps", "cuda:0", "CPU"]),
        "ckpt": st.sampled_from(["good.ckpt"] * 6 + ["last.ckpt", ".", "a.json"]),
    }
    files = ["a.png", "a.npz", "a.npy", "a.gif", "a", "x/a.PNG", "a.jpg"]
    drawing = {
        "label": joined(st.one_of(labels, labels, labels, spans)),
        "truncation": st.one_of(st.floats(0, 1).map(repr), numbers),
        "scale": st.sampled_from(["1", "2", "3", "0", "65", "1.5"]),
        "out": st.sampled_from(files),
    }
    images = options(
        seeds=joined(st.one_of(small, spans, st.sampled_from(["0", "4-6", "4294967295"]))),
        format=st.sampled_from(["png", "png", "npz", "npz", "npy", "jpg", "gif"]),
        batch_size=few,
        **drawing,
        **common,
    )
    digit, seed = st.sampled_from("0123456789"), st.integers(0, 99).map(str)
    point = st.one_of(digit, seed, st.builds(lambda y, s: f"{y}:{s}", digit, seed))
    end = st.sampled_from("pppdw").flatmap({"p": point, "d": damaged(point), "w": wild}.__getitem__)
    frames = options(frames=few, fps=few, format=st.sampled_from(["png", "gif", "gif", "npz"]), **drawing)
    way = st.builds(lambda a, b, words: ["--interpolate", a, b, *words], end, end, frames)
    flags = st.lists(st.sampled_from(["--loop", "--captions", "--force", "--json"]), max_size=2)
    sample = st.builds(lambda words, more: [*words, *more], st.one_of(images, images, way), flags)
    pictures = st.sampled_from([*["grid.png"] * 4, "good.ckpt", "nowhere.png", "."])
    replay = st.builds(
        lambda paths, words: [*words, *paths],
        st.one_of(pictures.map(lambda path: [path]), wild.map(lambda path: ["--", path]), st.just([])),
        options(ckpt=common["ckpt"], device=common["device"], out=st.sampled_from(files)),
    )
    score = options(
        metrics=joined(names),
        features=joined(st.sampled_from(["classifier", "inception", "classifier", "good.ckpt", "vgg"])),
        repeats=few,
        precision=st.sampled_from(["float32", "float32", "bf16", "fp8"]),
        data=st.sampled_from(["digits"] * 5 + ["mnist", "stacked_mnist", "minst", "good.ckpt", "."]),
        classifier=st.sampled_from(
            [str(ASSETS / "classifier_digits.safetensors")] * 5 + ["a.json", "nowhere"]
        ),
        **common,
    )
    paths = st.sampled_from(["a.json", "b.json"] * 3 + ["./a.json", "good.ckpt", "."])
    two = st.permutations(["a.json", "b.json"]).map(list)
    reports = st.one_of(two, two, st.lists(st.one_of(paths, damaged(paths)), max_size=4))
    compare = st.tuples(reports, st.sampled_from([[], ["--json"], ["--force"]])).map(lambda x: x[0] + x[1])
    # `--`: what follows is no option, so that every override reaches Hydra
    some = st.lists(overrides(), min_size=1, max_size=4)
    train = st.builds(lambda dashes, o: [*dashes, *o], st.sampled_from([[], ["--"]]), some)
    where = st.sampled_from([*["run"] * 5, "run/checkpoints/last.ckpt", "good.ckpt", "a.json", "nowhere"])
    resume = st.builds(
        lambda w, o: ["--", w, *o], st.one_of(where, where, wild), st.lists(overrides(), max_size=3)
    )
    verbs = {"train": train, "resume": resume, "sample": sample, "replay": replay, "eval": score}
    verbs["compare"] = compare
    chosen = st.sampled_from([*["train"] * 2, "resume", *["sample"] * 3, "replay", "eval", "compare"])
    lines = chosen.flatmap(lambda name: verbs[name].map(lambda words: [name, *words]))
    return lines.filter(lambda words: "--debug" not in words)  # which asks for the traceback
