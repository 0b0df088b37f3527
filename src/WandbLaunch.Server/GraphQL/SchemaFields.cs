using GraphQL;
using GraphQL.Resolvers;
using GraphQL.Types;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>The fields of a part of the schema that are more than a value of a row.</summary>
internal interface ISchemaPart
{
    void AddTo(SchemaFields fields);
}

/// <summary>schema.graphql, whose fields get their resolvers.</summary>
internal sealed class SchemaFields
{
    private readonly ISchema _schema;
    private readonly HashSet<(string, string)> _asking = [];

    private SchemaFields(ISchema schema) => _schema = schema;

    /// <summary>Makes the schema; of the 2022 generation it lacks what came later, so that clients are tried against both.</summary>
    internal static ISchema Build(IEnumerable<ISchemaPart> parts, bool generation2022)
    {
        using var reader = new StreamReader(typeof(SchemaFields).Assembly.GetManifestResourceStream("schema.graphql")!);
        var text = reader.ReadToEnd();
        if (generation2022)
        {
            text = string.Join(
                '\n',
                text.Split('\n')
                    .Where(l =>
                        !l.EndsWith("# today", StringComparison.Ordinal)
                        && !l.EndsWith("# own", StringComparison.Ordinal)
                    )
            );
        }

        var schema = GraphQL.Types.Schema.For(text);
        schema.RegisterType(new JsonScalar());
        schema.RegisterType(new TextScalar("JSONString"));
        schema.RegisterType(new TextScalar("DateTime"));
        schema.RegisterType(new LongScalar());
        schema.Initialize();
        foreach (
            var type in schema
                .AllTypes.OfType<IObjectGraphType>()
                .Where(t => !t.Name.StartsWith("__", StringComparison.Ordinal))
        )
        {
            foreach (var field in type.Fields)
            {
                // A plain field is the row's value of that name.
                var name = field.Name;
                field.Resolver = new FuncFieldResolver<object?>(c => ((Row)c.Source!).GetValueOrDefault(name));
            }
        }

        var fields = new SchemaFields(schema);
        foreach (var part in parts)
        {
            part.AddTo(fields);
        }

        GraphQLLimits.Count(schema, (type, field) => fields._asking.Contains((type, field)));
        return schema;
    }

    /// <summary>Sets how a field is answered; one that this generation lacks is left out.</summary>
    internal void Set(string type, string field, Func<IResolveFieldContext, object?> resolve)
    {
        if (((IObjectGraphType)_schema.AllTypes[type]!).Fields.Find(field) is { } found)
        {
            found.Resolver = new FuncFieldResolver<object?>(resolve);
            _asking.Add((type, field));
        }
    }

    /// <summary>Sets what a mutation does. Every name in its input is looked at here, before anything is made of it.</summary>
    internal void Mutation(string field, Func<IResolveFieldContext, Dictionary<string, object?>, object?> act) =>
        Set(
            "Mutation",
            field,
            c =>
            {
                var input = c.Input();
                Names.CheckInput(field, input);
                return act(c, input);
            }
        );
}
