"""Who is not let in hears nothing for as long as they ask: all who are expected not to be ask at once."""

from concurrent.futures import ThreadPoolExecutor

from lab.visitor import Family, Visitor


def none_reaches(*asked: tuple[Visitor, str, Family]) -> bool:
    """Whether none of them is answered, within a second, at their URL."""

    def reaches(visitor: Visitor, url: str, family: Family) -> bool:
        return visitor.reaches(url, family=family)

    with ThreadPoolExecutor(len(asked)) as pool:
        return not any(list(pool.map(lambda one: reaches(*one), asked)))
