"""English sentences of a small grammar, from strongly negative over neutral to strongly positive."""

from random import Random

STEPS = 5  # sentiment is graded in fifths: -5/5, -4/5, ... 5/5

# One degree word a fifth of strength. The same words serve both signs, so a degree alone says nothing.
DEGREES = {
    1: ("slightly", "a little"),
    2: ("rather", "fairly"),
    3: ("",),
    4: ("really", "very"),
    5: ("absolutely", "extremely"),
}
QUALITIES = {
    -1: "unpleasant awful boring dreadful terrible miserable gloomy horrible dull annoying painful".split(),
    +1: "pleasant lovely charming delightful wonderful fun cheerful brilliant exciting superb fine".split(),
}
FEELINGS = {
    -1: "sad angry ashamed worried upset bitter hopeless frustrated".split(),
    +1: "happy proud grateful delighted hopeful excited pleased thankful".split(),
}
FACTS = (
    "started at nine",
    "took an hour",
    "was held upstairs",
    "was near the station",
    "was moved to Tuesday",
    "followed the news",
    "had twenty guests",
    "was in the calendar",
    "lasted until four",
    "needed one large room",
)

# Openings, topics and endings are shared by all sentiments: only the evaluation itself tells them apart.
OWNERS = ("the", "our", "my", "their", "this", "your")
EVENTS = (
    "dinner concert lesson meeting film journey match wedding tour party exam visit interview game picnic "
    "speech rehearsal course festival parade lecture workshop show walk"
).split()
ENDINGS = ("today", "yesterday", "last night", "this time", "this week", "in the end", "again", "on Friday")
FRAMES = {
    "quality": ("{topic} was {evaluation} {ending}", "I found {topic} {evaluation} {ending}"),
    "feeling": ("{topic} left me {evaluation} {ending}", "I felt {evaluation} about {topic} {ending}"),
    "fact": ("{topic} {evaluation} {ending}", "I heard {topic} {evaluation} {ending}"),
}


def sentence(sentiment: float, rng: Random) -> str:
    """Draw a sentence of the given sentiment.

    A sign picks the word list, the strength picks the degree word: "slightly dull" (-0.2), "lovely" (0.6),
    "absolutely brilliant" (1.0). A neutral sentence states a fact about the same events.

    Parameters
    ----------
    sentiment : float in [-1, 1]
        Rounded to the nearest fifth.
    rng : random.Random
        The source of every choice; advanced by the call.

    Returns
    -------
    str
        5 to 11 words with a capital and a full stop.
    """
    step = round(sentiment * STEPS)
    kind, evaluation = _evaluation(step, rng) if step else ("fact", rng.choice(FACTS))
    topic = f"{rng.choice(OWNERS)} {rng.choice(EVENTS)}"
    frame = rng.choice(FRAMES[kind])
    words = frame.format(topic=topic, evaluation=evaluation, ending=rng.choice(ENDINGS))
    return words[0].upper() + words[1:] + "."


def _evaluation(step: int, rng: Random) -> tuple[str, str]:
    kind, words = rng.choice((("quality", QUALITIES), ("feeling", FEELINGS)))
    degree = rng.choice(DEGREES[abs(step)])
    return kind, f"{degree} {rng.choice(words[1 if step > 0 else -1])}".strip()
