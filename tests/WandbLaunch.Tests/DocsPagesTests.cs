using System.Management.Automation.Language;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using WandbLaunch.Docs;

namespace WandbLaunch.Tests;

/// <summary>What is written for people: complete, without links into nothing, and of the sources as they are.</summary>
[Collection(SessionCollection.Name)]
public sealed partial class DocsPagesTests
{
    private static readonly string Root = Fixture.SourceRoot();

    private static string Read(string path) => File.ReadAllText(Path.Combine(Root, path)).ReplaceLineEndings("\n");

    private static IEnumerable<string> Pages() =>
        Directory
            .EnumerateFiles(Path.Combine(Root, "docs"), "*.md", SearchOption.AllDirectories)
            .Select(f => Path.GetRelativePath(Root, f).Replace('\\', '/'))
            .Concat(["README.md", "CHANGELOG.md"])
            .Order(StringComparer.Ordinal);

    [Fact]
    public void Every_error_of_the_sources_is_on_the_page_and_the_page_has_no_others()
    {
        var listed = ErrorIds.Listed(Read("docs/errors.md"));
        Assert.Equal(listed.Distinct(), listed);
        Assert.Equal(ErrorIds.All(Root), listed.Order(StringComparer.Ordinal));

        // The reader sees all that there is: as many sites as the category is named at, and ids with and without helpers.
        Assert.True(listed.Count > 150);
        Assert.Subset(
            listed.ToHashSet(),
            new HashSet<string>
            {
                "RunNotFound",
                "PolicyRefused",
                "HostNotFound",
                "ConfigInvalid",
                "FileFailed",
                "RunLost",
            }
        );
        Assert.All(
            ErrorIds.Sites(Root).Where(s => s.Ids.Count == 0),
            // They hand on what a run has kept of an error, and what their caller says.
            s => Assert.Contains(Path.GetFileName(s.File), new[] { "ItemWatch.cs", "TreeLimits.cs" })
        );
    }

    [Fact]
    public void Every_row_of_the_errors_says_what_to_what_and_what_next()
    {
        var rows = Read("docs/errors.md")
            .Split('\n')
            .Where(l => l.StartsWith("| `", StringComparison.Ordinal))
            .ToList();
        Assert.NotEmpty(rows);
        Assert.All(
            rows,
            row =>
            {
                var cells = Cell().Split(row.Trim('|', ' ')).Select(c => c.Trim()).ToArray();
                Assert.Equal(4, cells.Length);
                Assert.All(cells, c => Assert.NotEmpty(c));
                Assert.EndsWith(".", cells[1], StringComparison.Ordinal);
            }
        );
    }

    [Fact]
    public void Commands_and_parameters_that_the_pages_name_are_there()
    {
        var known = Generator.CmdletTypes.ToDictionary(
            Generator.Name,
            t => Generator.ParameterNames(t).ToHashSet(StringComparer.OrdinalIgnoreCase),
            StringComparer.OrdinalIgnoreCase
        );
        var all = known.Values.SelectMany(p => p).ToHashSet(StringComparer.OrdinalIgnoreCase);
        var checkedCommands = 0;
        foreach (var page in Pages().Where(p => p is not ("CHANGELOG.md" or "docs/protocol.md" or "docs/decisions.md")))
        {
            foreach (Match span in CodeSpan().Matches(Fence().Replace(Read(page), "")))
            {
                var code = span.Groups[1].Value.Replace("\\|", "|", StringComparison.Ordinal);
                var tree = Parser.ParseInput(code, out _, out _);
                foreach (var command in tree.FindAll(a => a is CommandAst, true).Cast<CommandAst>())
                {
                    if (command.GetCommandName() is not { } name || !Own().IsMatch(name) || name.EndsWith('-'))
                    {
                        continue;
                    }

                    Assert.True(known.ContainsKey(name), $"{page}: there is no {name}");
                    checkedCommands++;
                    foreach (var parameter in command.CommandElements.OfType<CommandParameterAst>())
                    {
                        Assert.True(
                            known[name].Contains(parameter.ParameterName),
                            $"{page}: {name} has no -{parameter.ParameterName}"
                        );
                    }
                }

                // A parameter alone.
                if (Alone().Match(code) is { Success: true } alone && page == "docs/errors.md")
                {
                    Assert.True(all.Contains(alone.Groups[1].Value), $"{page}: no command has {alone.Value}");
                }
            }
        }

        Assert.True(checkedCommands > 100, $"only {checkedCommands} commands were found");
    }

    [Fact]
    public void Every_parameter_has_help()
    {
        foreach (var type in Generator.CmdletTypes)
        {
            foreach (var (parameter, description) in Generator.Descriptions(type))
            {
                Assert.True(description.Length > 5, $"{Generator.Name(type)} -{parameter} has no help");
                Assert.True(
                    description[^1] is '.' or '}',
                    $"{Generator.Name(type)} -{parameter}: its help is no sentence: {description}"
                );
            }
        }
    }

    [Theory]
    [InlineData("about_WandbLaunch")]
    [InlineData("about_WandbLaunch_Config")]
    [InlineData("about_WandbLaunch_Agent")]
    [InlineData("about_WandbLaunch_Security")]
    [InlineData("about_WandbLaunch_Server")]
    [InlineData("about_WandbLaunch_Kubernetes")]
    [InlineData("about_WandbLaunch_Slurm")]
    [InlineData("about_WandbLaunch_Troubleshooting")]
    public void Every_topic_is_there_and_names_only_topics_that_are(string topic)
    {
        var page = Read($"docs/{topic}.md");
        Assert.Equal(AboutTopic.ToHelp(topic, page), Read($"src/WandbLaunch.PowerShell/en-US/{topic}.help.txt"));
        Assert.All(
            Regex
                .Matches(page, @"about_\w+")
                .Select(m => m.Value)
                .Where(n => n.Contains("Wandb", StringComparison.Ordinal)),
            n => Assert.True(File.Exists(Path.Combine(Root, "docs", n + ".md")), n)
        );
    }

    [Fact]
    public void No_page_or_help_is_of_a_command_that_is_gone()
    {
        var made = Generator.Generate(Root).Keys.ToHashSet();
        var there = Directory
            .EnumerateFiles(Path.Combine(Root, "docs"), "*-Wandb*.md")
            .Concat(Directory.EnumerateFiles(Path.Combine(Root, "src/WandbLaunch.PowerShell/en-US")))
            .Select(f => Path.GetRelativePath(Root, f).Replace('\\', '/'));
        Assert.All(there, f => Assert.Contains(f, made));
    }

    [Fact]
    public void GetHelp_Online_opens_the_page_of_each_command()
    {
        var home = Generator.ProjectUri(Root);
        Assert.StartsWith("https://", home, StringComparison.Ordinal);
        using var shell = new Shell(false);
        foreach (var type in Generator.CmdletTypes)
        {
            var name = Generator.Name(type);
            var uri = Generator.HelpUri(type, home);
            Assert.Equal(uri, shell.Ok($"(Get-Command {name}).HelpUri").Single().ToString());
            Assert.EndsWith($"/docs/{name}.md", uri, StringComparison.Ordinal);
            Assert.Contains($"\nonline version: {uri}\n", Read($"docs/{name}.md"), StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Every_link_of_the_pages_leads_somewhere()
    {
        var links = 0;
        foreach (var page in Pages())
        {
            foreach (Match link in Link().Matches(Fence().Replace(Read(page), "")))
            {
                var target = link.Groups[1].Value;
                if (target.Contains("://", StringComparison.Ordinal))
                {
                    continue;
                }

                links++;
                var parts = target.Split('#', 2);
                var file =
                    parts[0].Length == 0
                        ? Path.Combine(Root, page)
                        : Path.GetFullPath(Path.Combine(Root, Path.GetDirectoryName(page)!, parts[0]));
                Assert.True(File.Exists(file) || Directory.Exists(file), $"{page}: {target} is not there");
                if (parts.Length == 2)
                {
                    Assert.Contains(
                        parts[1],
                        Heading().Matches(File.ReadAllText(file)).Select(m => Anchor(m.Groups[1].Value))
                    );
                }
            }
        }

        Assert.True(links > 40);
    }

    [Fact]
    public void Every_guide_has_its_script_and_is_on_the_list()
    {
        var list = Read("docs/guides/README.md");
        foreach (
            var page in Pages()
                .Where(p =>
                    p.StartsWith("docs/guides/", StringComparison.Ordinal)
                    && !p.EndsWith("README.md", StringComparison.Ordinal)
                )
        )
        {
            var name = Path.GetFileNameWithoutExtension(page);
            Assert.Contains($"]({name}.md)", list, StringComparison.Ordinal);
            Assert.Contains($"](../examples/{name}.ps1)", Read(page), StringComparison.Ordinal);
            Assert.Contains($"docs/guides/{name}.md", Read($"docs/examples/{name}.ps1"), StringComparison.Ordinal);
        }
    }

    [Fact]
    public void The_figures_of_the_readme_are_those_of_the_benchmarks()
    {
        var readme = Read("README.md");
        var table = readme[readme.IndexOf("| figure |", StringComparison.Ordinal)..];
        table = table[..table.IndexOf("\n\n", StringComparison.Ordinal)];
        var measured = Read("docs/benchmarks.md");
        var figures = Figure().Matches(table).Select(m => m.Value).ToList();
        Assert.True(figures.Count >= 6);
        Assert.All(figures, f => Assert.Contains(f, measured, StringComparison.Ordinal));
    }

    [Fact]
    public void The_recorded_session_is_a_picture_of_commands_that_are_there()
    {
        var picture = XDocument.Load(Path.Combine(Root, "docs", "session.svg"));
        var lines = picture.Descendants().Where(e => e.Name.LocalName == "text").Select(e => e.Value).ToList();
        var commands = lines.Where(l => l.StartsWith("PS> ", StringComparison.Ordinal)).Select(l => l[4..]).ToList();
        Assert.True(commands.Count > 5);
        var script = Read("tools/Record-Session.ps1");
        var names = Generator.CmdletTypes.Select(Generator.Name).ToHashSet();
        foreach (var command in commands.SkipLast(1))
        {
            Assert.Contains(command, script, StringComparison.Ordinal);
            var tree = Parser.ParseInput(command, out _, out var faults);
            Assert.Empty(faults);
            Assert.All(
                tree.FindAll(a => a is CommandAst, true).Cast<CommandAst>(),
                c => Assert.Contains(c.GetCommandName(), names)
            );
        }

        // It is of this module and of nobody's machine.
        Assert.Contains(lines, l => l.Contains("final loss", StringComparison.Ordinal));
        Assert.DoesNotContain(lines, l => l.Contains("/home/", StringComparison.Ordinal));
    }

    [Fact]
    public void The_pages_use_the_words_of_the_field()
    {
        foreach (var page in Pages().Where(p => p is not ("docs/protocol.md" or "CHANGELOG.md")))
        {
            Assert.DoesNotMatch(@"(?i)\bwatchers?\b|\bgates?\b", Read(page));
        }
    }

    private static string Anchor(string heading) =>
        Regex.Replace(heading.Trim().ToLowerInvariant(), @"[^\w\- ]", "").Replace(' ', '-');

    [GeneratedRegex(@"(?<!\\)\|")]
    private static partial Regex Cell();

    [GeneratedRegex(@"(?ms)^ *```.*?^ *```")]
    private static partial Regex Fence();

    [GeneratedRegex(@"`([^`\n]+)`")]
    private static partial Regex CodeSpan();

    [GeneratedRegex(@"(?i)^[a-z]+-(wandb\w*)$")]
    private static partial Regex Own();

    [GeneratedRegex(@"^-([A-Z]\w+)\b")]
    private static partial Regex Alone();

    [GeneratedRegex(@"\]\(([^)\s]+)\)")]
    private static partial Regex Link();

    [GeneratedRegex(@"(?m)^#+ (.+)$")]
    private static partial Regex Heading();

    [GeneratedRegex(@"[+]?\d[\d.,]*\d(?: (?:ms|MB|%))?")]
    private static partial Regex Figure();
}
