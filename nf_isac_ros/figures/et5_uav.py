"""Extended targets, Fig. 5: as Fig. 4, of a UAV."""

from nf_isac_ros.figures.et4_vehicle import Parameters, panels
from nf_isac_ros.figures.extended import UAV
from nf_isac_ros.figures.panels import Figure

FIGURE = Figure('A matched filter and a UAV', Parameters, panels(UAV, 'a UAV'))
