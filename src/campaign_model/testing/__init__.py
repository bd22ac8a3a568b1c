"""What other services test their own code with (extra ``testing``)."""
