using System.Text.RegularExpressions;
using Mono.Cecil;

namespace WandbLaunch.ArchitectureTests;

/// <summary>Rules of the house that can be counted. The lists of exceptions only shrink: one that holds no more fails too.</summary>
public sealed partial class HouseTests
{
    // Connect- and Disconnect-Wandb make and end what Get-WandbConnection shows.
    private static readonly Dictionary<string, string> OtherFolder = new() { ["Wandb"] = "WandbConnection" };

    [Fact]
    public void One_cmdlet_a_file_in_the_folder_of_its_noun()
    {
        var found = Assemblies
            .Sources("src/WandbLaunch.PowerShell")
            .SelectMany(f =>
                CmdletLine()
                    .Matches(File.ReadAllText(Path.Combine(Assemblies.Root(), f)))
                    .Select(m => (File: f, Verb: m.Groups[1].Value, Noun: m.Groups[2].Value))
            )
            .ToList();
        Assert.Equal(
            found.Select(c =>
                $"src/WandbLaunch.PowerShell/{OtherFolder.GetValueOrDefault(c.Noun, c.Noun)}/{c.Verb}{c.Noun}Command.cs"
            ),
            found.Select(c => c.File)
        );

        // No cmdlet is written so that the rule above does not see it.
        using var module = Assemblies.Read("WandbLaunch.PowerShell");
        Assert.Equal(
            module
                .AllTypes()
                .Where(t => t.CustomAttributes.Any(a => a.AttributeType.Name == "CmdletAttribute"))
                .Select(t => t.Name)
                .Order(StringComparer.Ordinal),
            found.Select(c => $"{c.Verb}{c.Noun}Command").Order(StringComparer.Ordinal)
        );
    }

    // Cmdlets and views name types as texts, so that the module loads without Core: nothing else sees when one moves.
    [Fact]
    public void Types_that_are_named_as_texts_are_there()
    {
        using var core = Assemblies.Read("WandbLaunch.Core");
        var known = core
            .Types.Where(t => t.IsPublic)
            .Select(t => t.FullName)
            .Append("WandbLaunch.LaunchConfig")
            .ToHashSet();
        var folder = Path.Combine(Assemblies.Root(), "src/WandbLaunch.PowerShell");
        var named = Assemblies
            .Sources("src/WandbLaunch.PowerShell")
            .SelectMany(f => OutputTypes().Matches(File.ReadAllText(Path.Combine(Assemblies.Root(), f))))
            .SelectMany(m => TypeText().Matches(m.Value))
            .Concat(ViewType().Matches(File.ReadAllText(Path.Combine(folder, "WandbLaunch.format.ps1xml"))))
            .Select(m => m.Groups[1].Value)
            .ToHashSet();
        Assert.NotEmpty(named);
        Assert.Subset(known, named);
    }

    [Fact]
    public void No_file_is_longer_than_can_be_read_at_once()
    {
        // Each does several things that are to be taken apart: see the layers and seams in docs/decisions.md.
        string[] known = [];
        var root = Assemblies.Root();
        Assemblies.AssertSame(
            known,
            Assemblies.Sources("src").Where(f => File.ReadLines(Path.Combine(root, f)).Count() > 500)
        );
    }

    // What a server can do is asked of its protocol, in words of what is wanted, never by its generation.
    [Fact]
    public void Only_the_protocols_know_of_generations()
    {
        var root = Assemblies.Root();
        Assemblies.AssertSame(
            [],
            Assemblies
                .Sources("src")
                .Where(f => !f.StartsWith("src/WandbLaunch.Core/Wandb/Protocols/", StringComparison.Ordinal))
                .SelectMany(f =>
                    Generation().Matches(File.ReadAllText(Path.Combine(root, f))).Select(m => $"{f}: {m.Value}")
                )
        );

        // The rule sees what it is about.
        Assert.Matches(
            Generation(),
            File.ReadAllText(Path.Combine(root, "src/WandbLaunch.Core/Wandb/Protocols/LaunchProtocol.cs"))
        );
    }

    [Fact]
    public void Nothing_static_holds_state()
    {
        string[] known =
        [
            // To be handed down in a LaunchContext.
            // Of the process by nature: every message masks them, one resolver serves it, and a session has one connection.
            "WandbLaunch.Foundation.Secrets.Known",
            "WandbLaunch.PowerShell.ModuleAssemblyInitializer._registered",
            // Which sessions have the views, for as long as the session lives.
            "WandbLaunch.PowerShell.Views.Loaded",
            "WandbLaunch.PowerShell.WandbSession.Chosen",
            // Of the connection, and new with each: Tab has no other place that outlives it.
            "WandbLaunch.PowerShell.WandbSession.Completions",
            "WandbLaunch.PowerShell.WandbSession.Current",
            // Of the flow of one command or one thread, and gone with it.
            "WandbLaunch.Sources.GitHttpTransport._call",
            "WandbLaunch.Wandb.ServerPatience.Current",
            "WandbLaunch.Wandb.ServerPatience.Flowing",
            // Tables that are filled once.
            "WandbLaunch.Resources.DockerArguments.Extra",
            "WandbLaunch.Resources.DockerArguments.Short",
            "WandbLaunch.Resources.DockerArguments.Single",
        ];
        var found = Assemblies
            .Ours.SelectMany(name =>
            {
                using var module = Assemblies.Read(name);
                return module
                    .AllTypes()
                    .Where(t =>
                        !t.IsGenerated() && !t.Outermost().Namespace.Contains("Generated", StringComparison.Ordinal)
                    )
                    .SelectMany(t =>
                        t.Fields.Where(IsState)
                            .Select(f => $"{t.FullName}.{NameOf(f)}")
                            .Concat(t.Properties.Where(IsAmbient).Select(p => $"{t.FullName}.{p.Name}"))
                    )
                    .ToList();
            })
            .Distinct()
            .Order(StringComparer.Ordinal);
        Assemblies.AssertSame(known, found);
    }

    // What is the process's alone is changed where nothing runs beside it, and its one session is one test's at a time.
    [Fact]
    public void Tests_that_share_the_process_say_so()
    {
        // The first makes the machine of all tests, before any of them; the others are for tests that say so.
        string[] helpers =
        [
            "tests/WandbLaunch.Tests/Fixture.cs",
            "tests/WandbLaunch.Tests/FileServer.cs",
            "tests/WandbLaunch.Tests/Slurm/SlurmMachine.cs",
            "tests/WandbLaunch.Tests/SmallDisk.cs",
        ];
        var wrong = Assemblies
            .Sources("tests/WandbLaunch.Tests")
            .Except(helpers)
            .Select(f => (File: f, Text: File.ReadAllText(Path.Combine(Assemblies.Root(), f))))
            .Where(f =>
                ChangesTheProcess().IsMatch(f.Text)
                    ? !f.Text.Contains("[Collection(ProcessCollection.Name)]", StringComparison.Ordinal)
                    : f.Text.Contains("new Shell(", StringComparison.Ordinal)
                        && !f.Text.Contains("[Collection(", StringComparison.Ordinal)
            )
            .Select(f => f.File)
            .ToList();
        Assert.Empty(wrong);
    }

    private static string NameOf(FieldDefinition field) =>
        field.Name.EndsWith("k__BackingField", StringComparison.Ordinal)
            ? field.Name[1..field.Name.IndexOf('>', StringComparison.Ordinal)]
            : field.Name;

    // What can be set again, and what can be filled.
    private static bool IsState(FieldDefinition field) =>
        field.IsStatic
        && !field.IsLiteral
        && (!field.Name.StartsWith('<') || field.Name.EndsWith("k__BackingField", StringComparison.Ordinal))
        && (
            !field.IsInitOnly
            || field.FieldType.Name
                is "ConcurrentDictionary`2"
                    or "ConcurrentQueue`1"
                    or "ConcurrentBag`1"
                    or "Dictionary`2"
                    or "List`1"
                    or "Queue`1"
                    or "Stack`1"
                    or "SortedDictionary`2"
                    or "ConditionalWeakTable`2"
                    or "AsyncLocal`1"
                    or "ThreadLocal`1"
                    or "StringBuilder"
                    or "MemoryCache"
        );

    // An object of ours that everybody reaches without being given it.
    private static bool IsAmbient(PropertyDefinition property) =>
        property.GetMethod is { IsStatic: true } && property.Name is "Current" or "Default" or "Instance" or "Shared";

    [GeneratedRegex(@"^\[Cmdlet\(\s*Verbs\w+\.(\w+),\s*""(\w+)""", RegexOptions.Multiline)]
    private static partial Regex CmdletLine();

    [GeneratedRegex(
        @"Environment\.(SetEnvironmentVariable\(|CurrentDirectory =)|new SmallDisk\(|SetConfigSearchPaths|clear_refs|GetTotalMemory"
    )]
    private static partial Regex ChangesTheProcess();

    [GeneratedRegex(@"\b(ServerDialect|Protocol2022|ProtocolCurrent|ProtocolLocal)\b")]
    private static partial Regex Generation();

    [GeneratedRegex(@"\[OutputType\([^]]*\]")]
    private static partial Regex OutputTypes();

    [GeneratedRegex(@"""(WandbLaunch[\w.]+)""")]
    private static partial Regex TypeText();

    [GeneratedRegex("<TypeName>(WandbLaunch[^<]+)")]
    private static partial Regex ViewType();
}
