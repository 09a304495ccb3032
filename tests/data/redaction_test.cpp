// SPDX-License-Identifier: Apache-2.0
// What is taken for personal data, what is not, and that it does not matter how the text comes.
#include "data/redaction.h"

#include <random>

#include "base/clock.h"
#include "data/tokenizer.h"
#include "tests/data/files.h"

namespace orthant {
namespace {

std::string redacted(const std::string& text) {
  RedactionCounts counts;
  return redacted(text, counts);
}

TEST(Redaction, FindsAddressesInManyForms) {
  for (const char* address :
       {"anna@example.org", "Anna.Maria-Schmidt+news@mail.example.co.uk", "a@b.io", "_x_@y.net",
        "foo_bar%baz@163.com", "user@sub-domain.example.museum", "12345@qq.com",
        "555-123-4567.sales@example.com", "root@host.example.com"}) {
    const std::string a = address;
    for (const auto& [before, behind] : std::vector<std::pair<std::string, std::string>>{
             {"", ""},
             {"Write to ", "."},
             {"<", ">"},
             {"mailto:", "?subject=x"},
             {"\xE9\x82\xAE\xE7\xAE\xB1", "\xE3\x80\x82"},
             {"\"Anna\" <", ">,\n"},
             {"(", ")"},
             {"see...", "; "},
             {"https://", "/path"},
             {"a ", "\xC2\xA0"}})
      EXPECT_EQ(redacted(before + a + behind), before + "<EMAIL>" + behind);
  }
}

TEST(Redaction, FindsPhoneNumbersInManyForms) {
  for (const char* number : {"+1 555 123 4567",
                             "+15551234567",
                             "+1-555-123-4567",
                             "+1 (555) 123-4567",
                             "+1.555.123.4567",
                             "+44 20 7946 0958",
                             "+44 (0)20 7946 0958",
                             "+44(0)20 7946 0958",
                             "+442079460958",
                             "+49 30 1234567",
                             "+49 151 23456789",
                             "+49 (0)151 23456789",
                             "+49 30/1234567",
                             "(+49) 30 1234567",
                             "+33 1 23 45 67 89",
                             "+33123456789",
                             "+86 138 0013 8000",
                             "+91 98765 43210",
                             "+91-9876543210",
                             "+81-3-1234-5678",
                             "+7 (495) 123-45-67",
                             "+358 40 123 4567",
                             "555-123-4567",
                             "555.123.4567",
                             "555 123 4567",
                             "(555) 123-4567",
                             "(555)123-4567",
                             "(555) 123 4567",
                             "1-800-555-0199",
                             "1 (555) 123-4567",
                             "1 555 123 4567",
                             "020 7946 0958",
                             "(020) 7946 0958",
                             "0161 496 0000",
                             "07700 900123",
                             "0151/12345678",
                             "030-12345678",
                             "555\xC2\xA0"
                             "123\xC2\xA0"
                             "4567",
                             "555\xE2\x80\x91"
                             "123\xE2\x80\x91"
                             "4567",
                             "555\xE2\x80\x93"
                             "123\xE2\x80\x93"
                             "4567"}) {
    const std::string n = number;
    for (const auto& [before, behind] : std::vector<std::pair<std::string, std::string>>{
             {"", ""},
             {"Call ", " today."},
             {"tel:", "\n"},
             {"\"", "\","},
             {"<td>", "</td>"},
             {"tel=", ";x"},
             {"Tel.: ", ", fax"},
             {"\xE7\x94\xB5\xE8\xAF\x9D", "\xE3\x80\x82"}})
      EXPECT_EQ(redacted(before + n + behind), before + "<PHONE>" + behind);
  }
  EXPECT_EQ(redacted("555-123-4567x89, 555-123-4567 x89"), "<PHONE>x89, <PHONE> x89");
  EXPECT_EQ(redacted("555-123-4567/555-123-4568"), "555-123-4567/555-123-4568");  // a path
  EXPECT_EQ(redacted("555-123-4567, 555-123-4568"), "<PHONE>, <PHONE>");
}

TEST(Redaction, FindsCardNumbersInManyForms) {
  for (const char* card :
       {"4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "4222222222222",
        "5555555555554444", "5105 1051 0510 5100", "2223003122003222", "378282246310005",
        "3782 822463 10005", "3714-496353-98431", "6011111111111117", "6011 0009 9013 9424",
        "30569309025904", "3056 930902 5904", "3530111333300000", "6304000000000000",
        "6200000000000005", "4000000000000000006"}) {
    const std::string c = card;
    for (const auto& [before, behind] : std::vector<std::pair<std::string, std::string>>{
             {"", ""}, {"card ", " 12/27"}, {"No.", "."}, {"\"", "\""}, {"cc=", "&"}, {"(", ")"}})
      EXPECT_EQ(redacted(before + c + behind), before + "<CARD>" + behind);
  }
  EXPECT_EQ(redacted("4111 1111 1111 1111 123"), "<CARD> 123");
}

TEST(Redaction, LeavesWhatOnlyLooksLikeIt) {
  for (const char* text :
       {// Versions, dates, times, networks.
        "1.2.3", "v10.15.7-beta.2", "1.0.0+20130313144700", "numpy==1.26.4", "2024-01-15",
        "15.01.2024", "2024-01-15T12:34:56.789+01:00", "01/15/2024 12:30", "192.168.100.200",
        "255.255.255.255:8080", "fe80::1ff:fe23:4567:890a", "10.0.0.0/8", "00:1A:2B:3C:4D:5E",
        "1700000000", "1700000000000", "1700000000000000", "+0100", "UTC+05:30",
        // Books and other numbers with checks.
        "ISBN 978-0-306-40615-7", "ISBN 978 3 16 148410 0", "9780306406157", "0-306-40615-2",
        "0 306 40615 2", "ISSN 0378-5955", "DE89 3704 0044 0532 0130 00", "EAN 4006381333931",
        // Hashes and ids.
        "d41d8cd98f00b204e9800998ecf8427e", "550e8400-e29b-41d4-a716-446655440000",
        "12345678-1234-1234-1234-123456789012", "sha256:4111111111111111abcdef", "5551234567",
        "id_4111111111111111", "4111111111111111_id", "tweet/1234567890123456789",
        "/4111111111111111/", "0x4111111111111111", "4111111111111112", "4111 1111 1111 1112",
        "4111 1111-1111 1111", "41111111 11111111",
        // Numbers.
        "3.14159265358979", "0.4111111111111111", "4111111111111111.5", "-4111111111111111", "1e10",
        "1,000,000", "1 000 000 000", "+1 000 000 000", "10 000 000 000", "+20 000 000",
        "1_000_000_000", "$555-123-4567", "100-200-3000", "12 555 123 4567", "555 123 4567 890",
        "555-123-4567-890", "555-1234567", "01 02 03 04 05", "123-45-6789",
        "01 23 45 67 89 ab cd ef", "0000020 012345 067012",
        // Code.
        "git@github.com:org/repo.git", "ssh://git@host.example.com/x", "a[555] = 123-4567;",
        "f(555) 123-4567", "x+15551234567", "(a)+15551234567", "y = A@B.transpose(0, 1)",
        "@property", "@app.route('/x')", "react@18.2.0", "pkg@1.0.0-beta.rc", "lodash@^4.17",
        "user@host", "user@localhost:8080", "a@b.c", "a@b@c.org@", "x@.com", "@x.com", ".@x.com",
        "a.@x.com", "a@-x.com", "a@x-.com", "a@1.2.3.4", "std::array<int, 3>@",
        // And no text at all.
        "", "@", "+", "(", "0", "@@@@", "++++", "....", "<EMAIL>", "<PHONE> <CARD>"}) {
    for (const char* before : {"", "a ", "\"", "\n"})
      for (const char* behind : {"", " b", "\"", ",", "\n"}) {
        const std::string whole = std::string(before) + text + behind;
        if (whole == "a @x.com b") continue;
        EXPECT_EQ(redacted(whole), whole);
      }
  }
  EXPECT_EQ(redacted(std::string(65, 'a') + "@x.com"), std::string(65, 'a') + "@x.com");
  EXPECT_EQ(redacted(std::string(64, 'a') + "@x.com"), "<EMAIL>");
}

TEST(Redaction, CountsByKind) {
  RedactionCounts counts;
  EXPECT_EQ(redacted("a@b.org, c@d.org: +1 555 123 4567, 4111 1111 1111 1111", counts),
            "<EMAIL>, <EMAIL>: <PHONE>, <CARD>");
  EXPECT_EQ(counts.of, (std::array<int64_t, 3>{2, 1, 1}));
  EXPECT_EQ(counts.total(), 4);
}

// Text out of what the rules look at, so that everything stands beside everything.
std::string random_text(std::mt19937& random, size_t parts) {
  static const std::vector<std::string> kParts = {"a",
                                                  "b.org",
                                                  "@",
                                                  ".",
                                                  "-",
                                                  " ",
                                                  " ",
                                                  "+",
                                                  "(",
                                                  ")",
                                                  "/",
                                                  "0",
                                                  "1",
                                                  "555",
                                                  "123",
                                                  "4567",
                                                  "4111111111111111",
                                                  "4111 1111 1111 1111",
                                                  "anna@b.org",
                                                  "555-123-4567",
                                                  "(555) 123-4567",
                                                  "555 123 4567",
                                                  "+15551234567",
                                                  "020 7946 0958",
                                                  "x",
                                                  "_",
                                                  ",",
                                                  "\n",
                                                  "\xC3\xA9",
                                                  "\xC2\xA0",
                                                  "<EMAIL>",
                                                  "<PHONE>",
                                                  "<",
                                                  ">",
                                                  "com",
                                                  "..",
                                                  "+49 (0)30 1234567",
                                                  "git@b.org"};
  std::string text;
  for (size_t i = 0; i < parts; ++i) text += kParts[random() % kParts.size()];
  return text;
}

TEST(Redaction, OfRedactedTextIsTheSameText) {
  std::mt19937 random(7);
  for (int i = 0; i < 200000; ++i) {
    const std::string text = random_text(random, 1 + random() % 8), once = redacted(text);
    ASSERT_EQ(redacted(once), once) << text;
  }
}

TEST(Redaction, DoesNotDependOnPieces) {
  std::mt19937 random(11);
  for (int i = 0; i < 300; ++i) {
    std::string text = random_text(random, 400);
    if (i % 2 == 0) std::erase(text, '\n');
    RedactionCounts counts;
    const std::string want = redacted(text, counts);
    Redaction redaction;
    std::string got;
    const size_t most = i % 3 == 0 ? 3 : 1000;
    for (size_t begin = 0; begin < text.size();) {
      const size_t size = std::min(text.size() - begin, 1 + random() % most);
      got += redaction.add(std::string_view(text).substr(begin, size), begin + size == text.size());
      begin += size;
    }
    ASSERT_EQ(got, want) << text;
    ASSERT_EQ(redaction.counts(), counts);
  }
}

// A second for each would be a hundred times too slow.
TEST(Redaction, TakesLinearTimeOnLongLines) {
  for (const char* part : {"a", "1", "1 ", "a.", "@", "a@", "a.b@", "a@a.", "1-", "555-123-", "+1 ",
                           "(555) ", "0123 ", "4111 ", "a@b.com", "<EMAIL>", ".", "4"}) {
    std::string line;
    while (line.size() < size_t{1} << 20) line += part;
    const double begin = now_seconds();
    redacted(line);
    EXPECT_LT(now_seconds() - begin, 1.0) << part;
  }
}

TEST(Prepare, RedactsTextsAndLinesAndCounts) {
  // An address across the border of two pieces, in a document without line ends.
  std::string book;
  while (book.size() < (size_t{1} << 20) - 8) book += "word ";
  book += "anna.schmidt@example.org and more";
  PrepareOptions options{
      .inputs = {write_file("a.txt", book),
                 write_file("b.jsonl", "{\"text\": \"call 555-123-4567\\nor a@b.org\"}\n"),
                 write_file("c.txt", "4111 1111 1111 1111")},
      .output = test_folder() + "/out.h5",
      .validation_fraction = 0,
      .redact = true};
  const PrepareReport report = prepare(options);
  EXPECT_EQ(report.redactions.of, (std::array<int64_t, 3>{2, 1, 1}));
  const std::string text =
      make_tokenizer("byte")->decode(all_tokens(options.output, Split::kTrain));
  EXPECT_TRUE(text.ends_with("word <EMAIL> and morecall <PHONE>\nor <EMAIL><CARD>"))
      << text.substr(text.size() - 100);
  options.redact = false;
  EXPECT_EQ(prepare(options).redactions.total(), 0);
}

}  // namespace
}  // namespace orthant
