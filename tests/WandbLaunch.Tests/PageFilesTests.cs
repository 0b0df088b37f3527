using System.IO.Compression;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace WandbLaunch.Tests;

/// <summary>The files of the page as they are in the sources: where they come from, what they may do, and how large they are.</summary>
public partial class PageFilesTests
{
    // What a browser is sent of all views, packed.
    private const int MostBytes = 60_000;

    private static string Page { get; } = Path.Combine(Sources(), "src", "WandbLaunch.Server", "Page");

    private static string[] Own { get; } = Directory.GetFiles(Path.Combine(Page, "Assets"));

    [Fact]
    public void Vendored_files_are_those_of_the_manifest_and_have_their_licences()
    {
        var vendor = Path.Combine(Page, "Vendor");
        using var manifest = JsonDocument.Parse(File.ReadAllText(Path.Combine(vendor, "vendor.json")));
        var listed = manifest.RootElement.EnumerateArray().ToList();
        Assert.Equal(
            Directory.GetFiles(vendor).Select(f => Path.GetFileName(f)!).Where(f => f != "vendor.json").Order(),
            listed.Select(e => e.GetProperty("file").GetString()!).Order()
        );
        foreach (var entry in listed)
        {
            var file = Path.Combine(vendor, entry.GetProperty("file").GetString()!);
            Assert.Equal(
                entry.GetProperty("sha256").GetString(),
                Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(file))).ToLowerInvariant()
            );
            Assert.Matches(@"^\d+\.\d+\.\d+$", entry.GetProperty("version").GetString()!);
            Assert.NotEmpty(entry.GetProperty("licence").GetString()!);
            Assert.NotEmpty(entry.GetProperty("package").GetString()!);
            foreach (var licence in entry.GetProperty("licenceFiles").EnumerateArray())
            {
                Assert.True(new FileInfo(Path.Combine(vendor, "licences", licence.GetString()!)).Length > 500);
            }
        }
    }

    [Fact]
    public void Nothing_is_made_of_texts_but_texts_and_nothing_comes_from_elsewhere()
    {
        foreach (var file in Own)
        {
            var text = File.ReadAllText(file);
            Assert.False(
                MakesCode().IsMatch(text),
                $"{Path.GetFileName(file)}: {MakesCode().Match(text).Value} makes elements or code of a text."
            );
            foreach (Match loaded in Loaded().Matches(text))
            {
                var name = loaded.Groups[1].Value;
                Assert.True(
                    name.StartsWith("./", StringComparison.Ordinal)
                        || name.StartsWith("/assets/{version}/", StringComparison.Ordinal),
                    $"{Path.GetFileName(file)} loads {name}"
                );
                Assert.True(
                    Find(Path.GetFileName(name)) is not null,
                    $"{Path.GetFileName(file)} loads {name}, which is not there"
                );
            }

            Assert.True(File.ReadLines(file).Count() <= 300, $"{Path.GetFileName(file)} has more than 300 lines");
        }
    }

    [Fact]
    public void All_files_together_are_within_the_budget()
    {
        var sizes = Own.Concat(
                Directory
                    .GetFiles(Path.Combine(Page, "Vendor"))
                    .Where(f => !f.EndsWith(".json", StringComparison.Ordinal))
            )
            .ToDictionary(f => Path.GetFileName(f)!, f => Packed(Path.GetFileName(f)!));
        Assert.True(
            sizes.Values.Sum() <= MostBytes,
            $"{sizes.Values.Sum():N0} bytes of {MostBytes:N0}: {string.Join(", ", sizes.OrderByDescending(s => s.Value).Select(s => $"{s.Key} {s.Value:N0}"))}"
        );
    }

    private static long Packed(string name)
    {
        using var packed = new MemoryStream();
        using (var brotli = new BrotliStream(packed, CompressionLevel.SmallestSize, true))
        {
            brotli.Write(File.ReadAllBytes(Find(name)!));
        }

        return packed.Length;
    }

    private static string? Find(string name) =>
        new[] { "Assets", "Vendor" }.Select(f => Path.Combine(Page, f, name)).FirstOrDefault(File.Exists);

    private static string Sources()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder!.FullName, "WandbLaunch.sln")))
        {
            folder = folder.Parent;
        }

        return folder.FullName;
    }

    [GeneratedRegex(
        @"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|createContextualFragment|DOMParser|setHTML|javascript:"
    )]
    private static partial Regex MakesCode();

    [GeneratedRegex("(?:from|import\\(|script\\(|src=|href=)\\s*['\"]((?:\\./|/assets/|[a-z]+:|//)[^'\"$]*)['\"]")]
    private static partial Regex Loaded();
}
