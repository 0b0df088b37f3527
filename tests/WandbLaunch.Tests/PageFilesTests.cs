using System.IO.Compression;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace WandbLaunch.Tests;

/// <summary>The files of the page as they are in the sources: where they come from, what they may do, and how large they are.</summary>
public partial class PageFilesTests
{
    // What a browser is sent for a view, packed.
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
    public void Each_view_is_within_its_budget()
    {
        var always = Closure("page.js").Append("page.html").Append("page.css").Append("uplot.css").ToHashSet();
        var sizes = Views()
            .Matches(File.ReadAllText(Find("page.js")!))
            .Select(m => m.Groups[1].Value)
            .ToDictionary(v => v, v => Closure(v).Union(always).Sum(Packed));
        Assert.True(sizes.Count >= 6);
        Assert.All(
            sizes,
            s => Assert.True(s.Value <= MostBytes, $"{s.Key} needs {s.Value:N0} bytes of {MostBytes:N0}")
        );
    }

    // With what it imports, and the scripts that what it imports loads: all but those of the search, which Ctrl+K loads.
    private static HashSet<string> Closure(string file)
    {
        var found = new HashSet<string>(StringComparer.Ordinal);
        var open = new Stack<string>([file]);
        while (open.TryPop(out var name))
        {
            if (!found.Add(name) || !name.EndsWith(".js", StringComparison.Ordinal) || Find(name) is not { } path)
            {
                continue;
            }

            foreach (Match import in Imports().Matches(File.ReadAllText(path)))
            {
                var imported = import.Groups[1].Value + import.Groups[2].Value;
                if (imported != "ufuzzy.js")
                {
                    open.Push(imported);
                }
            }
        }

        return found;
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

    [GeneratedRegex(@"from '\./([\w.-]+)'|\bscript\('\./([\w.-]+)'")]
    private static partial Regex Imports();

    [GeneratedRegex(@"\(\) => import\('\./([\w.-]+)'\)")]
    private static partial Regex Views();
}
