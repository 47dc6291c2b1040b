"""How do the bytes of any image file become an image that every command sees alike?"""
