from harmony_parts.plugin import hookimpl, part
@hookimpl
def harmony_guidance():
    yield part("half", "harmony_half.half:Half", summary="Goes half the way that its inner guidance goes.")
