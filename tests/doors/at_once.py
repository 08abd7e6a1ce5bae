"""Who is not let in hears nothing for as long as they ask: all who are expected not to be ask at once."""

from concurrent.futures import ThreadPoolExecutor

from lab.visitor import Family, Visitor


def none_reaches(*asked: tuple[Visitor, str, Family]) -> bool:
    """Whether none of them is answered at their URL."""
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = [pool.submit(visitor.reaches, url, family=family) for visitor, url, family in asked]
        return not any(answer.result() for answer in answers)
