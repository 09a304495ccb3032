// SPDX-License-Identifier: Apache-2.0
// The filters, by file.  Each is called with the value in front of "|" and the other arguments.
#pragma once

#include "data/jinja/value.h"

namespace orthant::jinja::filters {

// text_filters.cpp
Value trim(Render&, const Value&, const Arguments&);
Value lower(Render&, const Value&, const Arguments&);
Value upper(Render&, const Value&, const Arguments&);
Value title(Render&, const Value&, const Arguments&);
Value capitalize(Render&, const Value&, const Arguments&);
Value replace(Render&, const Value&, const Arguments&);
Value string(Render&, const Value&, const Arguments&);
Value safe(Render&, const Value&, const Arguments&);
Value escape(Render&, const Value&, const Arguments&);
Value indent(Render&, const Value&, const Arguments&);
Value wordcount(Render&, const Value&, const Arguments&);
Value join(Render&, const Value&, const Arguments&);
Value tojson(Render&, const Value&, const Arguments&);

// value_filters.cpp
Value default_value(Render&, const Value&, const Arguments&);
Value length(Render&, const Value&, const Arguments&);
Value to_int(Render&, const Value&, const Arguments&);
Value to_float(Render&, const Value&, const Arguments&);
Value abs(Render&, const Value&, const Arguments&);
Value round(Render&, const Value&, const Arguments&);
Value sum(Render&, const Value&, const Arguments&);
Value min(Render&, const Value&, const Arguments&);
Value max(Render&, const Value&, const Arguments&);

// sequence_filters.cpp
Value first(Render&, const Value&, const Arguments&);
Value last(Render&, const Value&, const Arguments&);
Value list(Render&, const Value&, const Arguments&);
Value items(Render&, const Value&, const Arguments&);
Value dictsort(Render&, const Value&, const Arguments&);
Value sort(Render&, const Value&, const Arguments&);
Value unique(Render&, const Value&, const Arguments&);
Value reverse(Render&, const Value&, const Arguments&);
Value batch(Render&, const Value&, const Arguments&);

// selecting_filters.cpp
Value map(Render&, const Value&, const Arguments&);
Value select(Render&, const Value&, const Arguments&);
Value reject(Render&, const Value&, const Arguments&);
Value selectattr(Render&, const Value&, const Arguments&);
Value rejectattr(Render&, const Value&, const Arguments&);

// "a.b.0" of an item: what sort, map and others take as `attribute` (none: the item itself).
Value by_path(Render& render, const Value& item, const Value& path, const Value* otherwise);
// What sort, unique, min and max compare: texts without their case unless `case_sensitive`.
Value sort_key(Render& render, const Value& item, const Value& path, bool case_sensitive);

}  // namespace orthant::jinja::filters
