from hypothesis import given
from hypothesis import strategies as st

from supervisor.analysis.calltree import heaviest_first, nodes

names = st.sampled_from(["a", "b", "a b", "c\0", ""])
profiles = st.dictionaries(st.lists(names, min_size=1, max_size=5).map(";".join), st.integers(0, 50), max_size=12)


def brute(counts: dict[str, int]) -> dict[tuple[str, ...], tuple[int, int]]:
    weights: dict[tuple[str, ...], tuple[int, int]] = {}
    for stack, weight in counts.items():
        frames = tuple(stack.split(";"))
        for end in range(1, len(frames) + 1):
            own, total = weights.get(frames[:end], (0, 0))
            weights[frames[:end]] = (own + (weight if end == len(frames) else 0), total + weight)
    return weights


def paths(counts: dict[str, int], least: int) -> dict[tuple[str, ...], tuple[int, int]]:
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    path: list[str] = []
    for node in nodes(counts, least)[0]:
        del path[node.depth :]
        path.append(node.text)
        assert len(path) == node.depth + 1
        assert tuple(path) not in found
        found[tuple(path)] = (node.self_weight, node.total_weight)
    return found


def test_each_path_has_its_place_and_weights() -> None:
    found, left_out = nodes({"a;b": 3, "a;c;d": 5, "a": 1, "e": 2}, 1)
    assert [(n.text, n.depth, n.start, n.self_weight, n.total_weight) for n in found] == [
        ("a", 0, 0, 1, 9),
        ("b", 1, 1, 3, 3),
        ("c", 1, 4, 0, 5),
        ("d", 2, 4, 5, 5),
        ("e", 0, 9, 2, 2),
    ]
    assert left_out == 0


def test_a_name_that_begins_like_another_does_not_split_it() -> None:
    found, _ = nodes({"a;b": 1, "a b": 1, "a": 1}, 1)
    assert [(n.text, n.total_weight) for n in found if n.depth == 0] == [("a", 2), ("a b", 1)]


@given(profiles, st.integers(0, 60))
def test_it_agrees_with_a_whole_tree(counts: dict[str, int], least: int) -> None:
    wanted = brute({stack: weight for stack, weight in counts.items() if "\0" not in stack})
    heavy = {path: weights for path, weights in wanted.items() if weights[1] >= max(least, 1)}
    plain = {stack: weight for stack, weight in counts.items() if "\0" not in stack}
    assert paths(plain, least) == heavy
    assert nodes(plain, least)[1] == len(wanted) - len(heavy)


@given(profiles, st.integers(0, 20))
def test_any_beginning_of_the_heaviest_is_a_tree(counts: dict[str, int], most: int) -> None:
    kept = sorted(heaviest_first(nodes(counts, 1)[0])[:most], key=lambda node: (node.start, node.depth))
    depth = -1
    for node in kept:
        assert node.depth <= depth + 1
        depth = node.depth


def test_a_recursion_as_deep_as_can_be() -> None:
    found, _ = nodes({";".join(["f"] * 50_000): 1}, 1)
    assert found[-1].depth == 49_999
