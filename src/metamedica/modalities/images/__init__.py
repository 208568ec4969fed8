"""Images and volumes: files of many formats -> arrays, safely read. Needs `metamedica[images]`."""
