// SPDX-License-Identifier: Apache-2.0
// Heat maps of report.html as SVG text, coloured by the page's style sheet: a cell below 1 in one
// colour, above in another, the stronger the farther; 1 itself is blank.  Pure functions.
#pragma once

#include <string>
#include <vector>

namespace orthant {

struct HeatMapSpec {
  std::string title, note;
  std::string row_name, column_name, value_name;  // "layer", "expert", "of the mean": for hovers
  std::vector<std::vector<double>> rows;          // a value that is not finite leaves a gap
  std::vector<double> columns;                    // numbers of the columns; empty: 0, 1, ...
};

// Rows from the top, numbered from 1.  Rows and columns that are more than fit are gathered: a cell
// then shows the value among its own that is farthest from 1, so that nothing hides.  Empty when no
// value is finite.
std::string heat_map(const HeatMapSpec& spec);

}  // namespace orthant
