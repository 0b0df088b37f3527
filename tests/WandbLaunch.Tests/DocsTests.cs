using System.Management.Automation;
using System.Text.RegularExpressions;
using WandbLaunch.Docs;

namespace WandbLaunch.Tests;

[Collection(SessionCollection.Name)]
public sealed partial class DocsTests
{
    [Fact]
    public void Docs_and_help_are_what_the_cmdlets_say()
    {
        foreach (var (path, content) in Generator.Generate(Fixture.SourceRoot()))
        {
            var full = Path.Combine(Fixture.SourceRoot(), path);
            Assert.True(
                File.Exists(full) && File.ReadAllText(full).ReplaceLineEndings("\n") == content,
                $"{path} is out of date: dotnet run --project tools/WandbLaunch.Docs"
            );
        }
    }

    [Fact]
    public void Every_test_that_the_security_page_names_is_there()
    {
        var root = Fixture.SourceRoot();
        var tests = string.Concat(
            Directory
                .EnumerateFiles(Path.Combine(root, "tests"), "*Tests.cs", SearchOption.AllDirectories)
                .Select(File.ReadAllText)
        );
        var page = File.ReadAllText(Path.Combine(root, "docs", "about_WandbLaunch_Security.md"));
        var named = System
            .Text.RegularExpressions.Regex.Matches(
                page,
                @"\b(?:[A-Z]\w*Tests\b|[A-Z][A-Za-z0-9]+(?:_[A-Za-z0-9]+){2,})"
            )
            .Select(m => m.Value.TrimEnd('_'))
            .Where(n => n.Any(char.IsLower))
            .Distinct()
            .ToList();
        Assert.True(named.Count > 50);
        Assert.All(named, n => Assert.Contains(n, tests, StringComparison.Ordinal));
    }

    [Fact]
    public void Every_cmdlet_is_exported_described_and_has_three_examples()
    {
        using var shell = new Shell(false);
        var exported = shell
            .Ok("(Get-Module WandbLaunch).ExportedCmdlets.Keys | ForEach-Object { $_ }")
            .Select(o => o.ToString())
            .Order()
            .ToArray();
        Assert.Equal(Generator.CmdletTypes.Select(Generator.Name).Order(), exported);
        foreach (var type in Generator.CmdletTypes)
        {
            Assert.True(Generator.Examples(type).Count() >= 3, Generator.Name(type));
        }

        Assert.DoesNotContain(
            Generator.Generate(Fixture.SourceRoot()).Values,
            v => v.Contains("\n\n\n```yaml", StringComparison.Ordinal)
        );
    }

    [Fact]
    public void GetHelp_shows_the_help_of_the_built_module()
    {
        using var shell = new Shell(false);
        foreach (var type in Generator.CmdletTypes)
        {
            var name = Generator.Name(type);
            var help = Assert.Single(shell.Ok($"Get-Help {name} -Full"));
            Assert.False(string.IsNullOrWhiteSpace(help.Properties["Synopsis"].Value.ToString()), name);
            var example = shell.Ok($"@((Get-Help {name} -Full).examples.example)").First();
            Assert.NotNull(example.Properties["code"]?.Value);
        }
    }

    [Fact]
    public void Every_object_has_a_table_view_and_a_list_view()
    {
        using var shell = new Shell(false);
        var format = System.Xml.Linq.XDocument.Load(Path.Combine(Fixture.Module, "WandbLaunch.format.ps1xml"));
        var types = Generator
            .CmdletTypes.SelectMany(t =>
                t.GetCustomAttributes(typeof(OutputTypeAttribute), false).Cast<OutputTypeAttribute>()
            )
            .SelectMany(o => o.Type)
            .Select(t => t.Name)
            .Where(t => t.StartsWith("WandbLaunch", StringComparison.Ordinal))
            .Distinct();
        foreach (var type in types)
        {
            var views = format
                .Descendants("View")
                .Where(v => v.Descendants("TypeName").Any(n => n.Value == type))
                .ToList();
            Assert.Contains(views, v => v.Element("TableControl") is not null);
            Assert.True(
                type == "WandbLaunch.LaunchConfig" || views.Exists(v => v.Element("ListControl") is not null),
                type
            );
        }
    }

    // "protocol B.2 to B.4", "protocol F.4, row 4; K 7", "protocol C.4 and K 4": what follows the word may name several.
    [GeneratedRegex(
        @"\b[Pp]rotocol (?<place>[A-L](?:\.\d+| \d+)?)\b(?:(?:,|;| and| to|, rows? \d+;?) (?<place>[A-L](?:\.\d+| \d+))\b)*"
    )]
    private static partial Regex Citation();

    [GeneratedRegex(@"\breference [A-L](\.\d+| \d+)?\b", RegexOptions.IgnoreCase)]
    private static partial Regex OldCitation();

    [Fact]
    public void What_the_code_cites_of_the_protocol_is_there()
    {
        var protocol = File.ReadAllLines(Path.Combine(Fixture.SourceRoot(), "docs", "protocol.md"));
        var places = protocol
            .Select(l => Regex.Match(l, @"^##+ ([A-L](?:\.\d+)?)\.? "))
            .Concat(
                protocol
                    .SkipWhile(l => !l.StartsWith("## K.", StringComparison.Ordinal))
                    .TakeWhile(l => !l.StartsWith("## L.", StringComparison.Ordinal))
                    .Select(l => Regex.Match(l, @"^\| (\d+) \|"))
            )
            .Where(m => m.Success)
            .Select(m => char.IsDigit(m.Groups[1].Value[0]) ? "K " + m.Groups[1].Value : m.Groups[1].Value)
            .ToHashSet();
        var texts = new[] { "src", "tests", "tools" }
            .SelectMany(f =>
                Directory.EnumerateFiles(Path.Combine(Fixture.SourceRoot(), f), "*.cs", SearchOption.AllDirectories)
            )
            .Where(f => !f.Split(Path.DirectorySeparatorChar).Any(p => p is "bin" or "obj"))
            .Append(Path.Combine(Fixture.SourceRoot(), "docs", "decisions.md"))
            .Select(f => (File: f, Text: File.ReadAllText(f)))
            .ToList();
        var cited = texts
            .SelectMany(t =>
                Citation()
                    .Matches(t.Text)
                    .SelectMany(m => m.Groups["place"].Captures.Select(c => (t.File, Place: c.Value)))
            )
            .ToList();
        Assert.InRange(cited.Count, 100, int.MaxValue);
        Assert.DoesNotContain(cited, c => !places.Contains(c.Place));
        Assert.Empty(texts.SelectMany(t => OldCitation().Matches(t.Text).Select(m => $"{t.File}: {m.Value}")));
    }
}
