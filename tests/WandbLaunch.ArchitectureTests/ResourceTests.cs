using System.Text.RegularExpressions;

namespace WandbLaunch.ArchitectureTests;

/// <summary>A resource is known in its own folder and in the catalog's one line, and nowhere else.</summary>
public sealed partial class ResourceTests
{
    private const string Under = "src/WandbLaunch.Core/Resources/";
    private const string Catalog = Under + "ResourceCatalog.cs";

    private static readonly string Root = Assemblies.Root();

    public static TheoryData<string> Folders() =>
        [.. Directory.GetDirectories(Path.Combine(Root, Under)).Select(f => Path.GetFileName(f)!)];

    [Theory]
    [MemberData(nameof(Folders))]
    public void Nobody_else_names_its_types(string folder)
    {
        var types = Assemblies
            .Sources(Under + folder)
            .SelectMany(f => TypeLine().Matches(Code(f)).Select(m => m.Groups[1].Value))
            .ToHashSet(StringComparer.Ordinal);
        Assert.Contains(folder + "Resource", types);
        var names = new Regex($@"\b({string.Join('|', types)})\b");
        var found = Elsewhere(folder).SelectMany(f => names.Matches(Code(f)).Select(m => $"{f} names {m.Value}"));
        Assemblies.AssertSame([$"{Catalog} names {folder}Resource"], found);
        Assert.Single(names.Matches(Code(Catalog)));
    }

    [Theory]
    [MemberData(nameof(Folders))]
    public void Nobody_else_writes_its_name(string folder)
    {
        var info = Code($"{Under}{folder}/{folder}Resource.cs");
        var name = NameLine().Match(info).Groups[1].Value;
        Assert.NotEmpty(name);
        var found = Elsewhere(folder)
            .Where(f => Code(f).Contains(name, StringComparison.Ordinal))
            .Select(f => $"{f} writes {name}");
        Assemblies.AssertSame([], found);
    }

    [Fact]
    public void The_catalog_lists_each_once()
    {
        var catalog = Code(Catalog);
        Assert.Equal(
            Folders().Select(f => f.Data + "Resource").Order(StringComparer.Ordinal),
            MadeLine().Matches(catalog).Select(m => m.Groups[1].Value).Order(StringComparer.Ordinal)
        );
    }

    private static IEnumerable<string> Elsewhere(string folder) =>
        Assemblies.Sources("src").Where(f => !f.StartsWith(Under + folder + "/", StringComparison.Ordinal));

    // Comments are for people, and those with three strokes are the help.
    private static string Code(string file) =>
        string.Join(
            '\n',
            File.ReadLines(Path.Combine(Root, file))
                .Where(l => !l.TrimStart().StartsWith("//", StringComparison.Ordinal))
        );

    [GeneratedRegex(@"^(?:\w+ )*(?:class|record|struct|enum|interface) (\w+)", RegexOptions.Multiline)]
    private static partial Regex TypeLine();

    [GeneratedRegex(@"Name = ""([\w-]+)""")]
    private static partial Regex NameLine();

    [GeneratedRegex(@"new (\w+Resource)\(")]
    private static partial Regex MadeLine();
}
