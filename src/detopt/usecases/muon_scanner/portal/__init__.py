"""Border control: is something hidden in a cargo?"""
