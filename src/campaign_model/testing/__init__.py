"""What developers of services test their own code with (extra ``testing``).

``strategies`` draws the library's values, ``documents`` the JSON documents that stand for them.
Importing this package alone loads no test library.
"""
