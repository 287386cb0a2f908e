"""What a table's runs would refuse, found before any of them is run."""

from orchestrator.errors import UserError, user_error
from orchestrator.identity import check_identity
from orchestrator.label_spaces import check_classes
from orchestrator.method_check import check_method
from orchestrator.reproducing.scales import HOW_TO_GET, HOW_TO_GET_SOURCES
from orchestrator.reproducing.study import PartStudy
from orchestrator.sweep.earlier import Earlier
from orchestrator.sweep.space import check_space, with_values
from orchestrator.sweep.wishes import prepared
from orchestrator.teachers import lessons, read_data
from orchestrator.tracking import flat
from orchestrator.transfer import check_sources


def check_runs(study: PartStudy, source: str) -> None:
    """Its data is there, and every row's method can be used with the teachers; lines about its values start
    with `source`.

    Raises:
        UserError: what is wrong; of data that is not there, with how to get it.
    """
    config = study.config
    assert config.data is not None
    try:
        data = read_data(config)
    except UserError as error:
        raise user_error(f"{error}; to get it: {HOW_TO_GET[config.data.source]}") from error
    assert data is not None
    try:
        check_sources(config)
    except UserError as error:
        raise user_error(f"{error}; to get such images: {HOW_TO_GET_SOURCES}") from error
    base, space = prepared(config), study.space
    check_space(space, base, source)
    cards = [one.card for one in lessons(config, data[0])[: config.num_parties]]
    classes = check_classes(config, cards)
    for name, values in space.cases.items():
        check_method(with_values(base, values, name), cards, classes)


def check_same(study: PartStudy, earlier: Earlier | None) -> None:
    """What another order has begun in its folder has the values that it has now.

    Raises:
        UserError: which differ.
    """
    base = prepared(study.config)
    for name, theirs in earlier.cases.items() if earlier else ():
        ours = study.cells.get(name, theirs)
        if ours == theirs:
            continue
        before, now = (flat(with_values(base, one, name).model_dump(mode="json")) for one in (theirs, ours))
        try:
            check_identity(before, now, f"{study.folder}, {name},")
        except UserError as error:
            raise UserError(f"{error}; choose another folder (name=ANOTHER)") from None
