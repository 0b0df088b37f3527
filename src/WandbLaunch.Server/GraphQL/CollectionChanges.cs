using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>What is done with collections: versions linked, aliases and tags given and taken, names changed, all of it deleted.</summary>
internal sealed class CollectionChanges(
    ArtifactRepository artifacts,
    CollectionRepository collections,
    ProjectRepository projects
) : ISchemaPart
{
    public void AddTo(SchemaFields fields)
    {
        AddLinks(fields);
        AddAliases(fields);
        fields.Mutation(
            "createArtifactType",
            (_, input) =>
            {
                var type = collections.AddType(
                    input.Need("entityName"),
                    input.Need("projectName"),
                    input.Need("name"),
                    input.Text("description")
                );
                return new Row
                {
                    ["artifactType"] = new Row
                    {
                        Record = projects.Find(input.Need("entityName"), input.Need("projectName")),
                        ["id"] = Ids.Encode("ArtifactType:" + type.Name),
                        ["name"] = type.Name,
                        ["description"] = type.Description,
                        ["createdAt"] = type.CreatedAt,
                    },
                };
            }
        );
        foreach (var (kind, id) in new[] { ("Sequence", "artifactSequenceID"), ("Portfolio", "artifactPortfolioID") })
        {
            fields.Mutation(
                "updateArtifact" + kind,
                (_, input) =>
                    Answer(collections.Change(Need(input, id, kind), input.Text("name"), input.Text("description")))
            );
            fields.Mutation(
                "deleteArtifact" + kind,
                (_, input) =>
                {
                    var collection = Need(input, id, kind);
                    collections.Delete(collection);
                    return Answer(collection);
                }
            );
        }

        fields.Mutation(
            "moveArtifactSequence",
            (_, input) =>
                Answer(
                    collections.Move(
                        Need(input, "artifactSequenceID", "Sequence"),
                        input.Need("destinationArtifactTypeName")
                    )
                )
        );
        fields.Mutation(
            "createArtifactCollectionTagAssignments",
            (_, input) =>
                new Row
                {
                    ["tags"] = collections
                        .Tag(Named(input), input.Texts("tags", "tagName"), [])
                        .Select(t => new Row { ["id"] = Ids.Encode("Tag:" + t), ["name"] = t })
                        .ToArray(),
                }
        );
        fields.Mutation(
            "deleteArtifactCollectionTagAssignments",
            (c, input) =>
            {
                collections.Tag(Named(input), [], input.Texts("tags", "tagName"));
                return c.Done(true);
            }
        );
    }

    private void AddLinks(SchemaFields fields)
    {
        fields.Mutation(
            "linkArtifact",
            (_, input) =>
            {
                var artifact =
                    (
                        input.Text("artifactID") is { Length: > 0 } id ? artifacts.Find(Ids.ParseArtifact(id))
                        : input.Text("clientID") is { Length: > 0 } client ? artifacts.FindByClientId(client)
                        : null
                    ) ?? throw new ServerFault("There is no such artifact.");
                if (artifact.State != "COMMITTED")
                {
                    throw new ServerFault(
                        $"The version of {artifact.Name} is not complete yet: wait until it is uploaded, and link it then."
                    );
                }

                var portfolio = input.Text("artifactPortfolioID") is { Length: > 0 }
                    ? Need(input, "artifactPortfolioID", "Portfolio")
                    : collections.Need(
                        input.Text("entityName") ?? artifact.Entity,
                        input.Text("projectName") ?? artifact.Project,
                        input.Need("artifactPortfolioName"),
                        CollectionRecord.Portfolio,
                        artifact.Type
                    );
                var version = collections.Link(portfolio, artifact, input.Texts("aliases", "alias"));
                return new Row
                {
                    ["versionIndex"] = version,
                    ["artifactMembership"] = Rows.Of(new Membership(portfolio, artifact, version)),
                };
            }
        );
        fields.Mutation(
            "unlinkArtifact",
            (_, input) =>
                new Row
                {
                    ["artifactID"] = input.Need("artifactID"),
                    ["success"] = collections.Unlink(
                        Need(input, "artifactPortfolioID", "Portfolio"),
                        Ids.ParseArtifact(input.Need("artifactID"))
                    ),
                }
        );
    }

    private void AddAliases(SchemaFields fields)
    {
        foreach (var (field, isAdded) in new[] { ("addAliases", true), ("deleteAliases", false) })
        {
            fields.Mutation(
                field,
                (c, input) =>
                {
                    var artifact =
                        artifacts.Find(Ids.ParseArtifact(input.Text("artifactID")))
                        ?? throw new ServerFault("There is no such artifact.");
                    foreach (
                        var alias in ((IEnumerable<object?>)input["aliases"]!).Cast<IDictionary<string, object?>>()
                    )
                    {
                        var collection = Named(
                            alias,
                            alias.Text("entityName") ?? artifact.Entity,
                            alias.Text("projectName") ?? artifact.Project
                        );
                        if (isAdded)
                        {
                            collections.AddAliases(collection, artifact.Id, [alias.Need("alias")]);
                        }
                        else
                        {
                            collections.DropAliases(collection, artifact.Id, [alias.Need("alias")]);
                        }
                    }

                    return c.Done(true);
                }
            );
        }
    }

    private CollectionRecord Need(Dictionary<string, object?> input, string id, string kind) =>
        collections.Find(Ids.Parse("ArtifactCollection", input.Need(id))) is { } found
        && found.Kind.Equals(kind, StringComparison.OrdinalIgnoreCase)
            ? found
            : throw new ServerFault($"There is no such collection ({id}).");

    private CollectionRecord Named(IDictionary<string, object?> input) =>
        Named(input, input.Need("entityName"), input.Need("projectName"));

    private CollectionRecord Named(IDictionary<string, object?> input, string entity, string project)
    {
        var name = input.Need("artifactCollectionName");
        return projects.Find(entity, project) is { } owner && collections.Find(owner, name) is { } found
            ? found
            : throw new ServerFault(
                $"There is no collection \"{JsonLimits.Short(name)}\" in {JsonLimits.Short(entity)}/{JsonLimits.Short(project)}."
            );
    }

    private static Row Answer(CollectionRecord collection) => new() { ["artifactCollection"] = Rows.Of(collection) };
}
