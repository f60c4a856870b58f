"""What data are about, pictures or videos: by the columns of a table, by a list, or by files."""

from blip.data.annotations.videos import lists_videos
from blip.data.readers.image_files import find_images
from blip.data.readers.parquet import open_described
from blip.data.readers.patterns import match_paths
from blip.data.readers.remote import is_remote
from blip.data.readers.video_places import shows_videos
from blip.places import home_path


def list_columns(data: str) -> list[str]:
    """The columns of a Parquet file; none for other data."""
    if not data.lower().endswith(".parquet"):
        return []
    return open_described(home_path(data)).schema_arrow.names


def are_videos(data: str) -> bool:
    """Whether the first place that `data` names is one of videos; a folder must have no pictures.

    Raises UsageError for a pattern that cannot be read.
    """
    places = [] if is_remote(data) else match_paths(data)
    if not places:
        return False
    if places[0].is_dir():
        return shows_videos(str(places[0])) and not find_images(places[0]).paths
    return lists_videos(places[0]) or shows_videos(str(places[0]))
